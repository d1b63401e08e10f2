# SPDX-License-Identifier: Apache-2.0
"""The picture of ``status --watch``: it fits, says everything, and passes no foreign text on."""

from __future__ import annotations

import queue
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from backlotfs.cli.live_status import Event, Questions, frame, plot
from backlotfs.cli.progress import LATE_PAUSE_S
from backlotfs.mount.control.client import AnswerLate, NoAnswer, problem_of
from tests.fakes.answers import AnswersInTurn
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S
from tests.unit.cli.made_answers import ERROR, MIB, WAITING, drawn, status, watched

MODULE = import_module("backlotfs.cli.live_status")


def test_the_answer_is_one() -> None:
    """What these tests draw has the form that a mount's answer has."""
    assert problem_of(status(), "status") is None


def test_everything_on_80_columns() -> None:
    """Each fact, on a terminal of the usual size."""
    picture = drawn(watched())
    assert len(picture.splitlines()) == 24
    for part in (
        "backlot:main on /mnt/a, up ", "10 files, 3.0 GiB",
        "read           2.0 KiB/s, highest ", "fetched        1.0 KiB/s, highest ", "█",
        "2 min ago ", " now\n",
        "blocks now     memory 75 %, disk 0 %, network 25 %\n",
        "blocks so far  memory 75 %, disk 0 %, network 25 %\n",
        "memory 1.0 MiB of 256.0 MiB, no disk cache",
        "3.0 MiB fetched before an open: 2.0 MiB read, 1.0 MiB not",
        "API credits    200 of 300, more in 41 s",
        "sizes          ━━━━━━━━━━────────── 5 of 10 sizes known, about 1 h 7 min left",
        "listed         never", "2 files open, 5 opens so far",
        "readers (20)   prog0 1.0 MiB/s, 12.0 MiB in all\n",
        "waiting (9)    mpv (pid 71) for the URL of late.mov, about 12 s\n",
        "failed (9)     2016-03-01 ", " /clip.mov: EIO: source host h answers 503",
    ):  # fmt: skip
        assert part in picture


@given(st.integers(1, 250), st.integers(1, 80))
def test_it_fits(width: int, height: int) -> None:
    """A terminal of any size: no line is too long, and there are not too many."""
    lines = drawn(watched(), width, height).split("\n")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_small_terminal_has_the_facts() -> None:
    """Without room for plots there are none."""
    picture = drawn(watched(), 60, 14)
    assert "█" not in picture
    for label in ("read ", "fetched", "API credits", "readers", "waiting", "failed"):
        assert f"\n{label}" in picture


def test_what_is_wrong_is_said() -> None:
    """A library that was not refreshed, and a mount that is silent; not only in colour."""
    picture = drawn(watched(stale=True, last_error="down"), silent_s=12.0)
    assert "STALE" in picture
    assert "last error     down" in picture
    assert "no answer for 12 s: the mount is busy, or hangs" in picture
    assert "no answer" not in drawn(watched())


@pytest.mark.parametrize("stale", [False, True])
def test_what_is_red(stale: bool) -> None:
    """A listing that was not refreshed, and no text that only says so."""
    seen = watched(stale=stale, last_error="STALE", errors=[])
    picture = frame(seen, Console(width=80, height=40))
    red = [picture.plain[span.start : span.end] for span in picture.spans if span.style == "red"]
    assert red == (["never (STALE: the last refresh failed)"] if stale else [])


def test_foreign_texts() -> None:
    """Neither a terminal nor rich obeys them."""
    evil = "\x1b[31m[bold red]x[/bold red]\x9b2J\n:warning:"
    usage = {"asked_bytes": MIB, "reads": 1, "failed": 0}
    picture = drawn(
        watched(
            source=evil,
            mountpoint=evil,
            last_error=evil,
            errors=[ERROR | {"file": evil, "reason": evil}],
            waiting=[WAITING | {"program": evil, "file": evil}],
            processes={evil: usage},
        ),
        300,
        40,
    )
    assert [c for c in picture if not c.isprintable() and c != "\n"] == []
    assert picture.count("\\x1b[31m[bold red]x[/bold red]\\x9b2J\\n:warning:") == 8


def test_a_locale_without_blocks() -> None:
    """Everything is ASCII there."""
    picture = drawn(watched(), encoding="latin-1")
    assert picture.isascii()
    assert "#" in picture


@pytest.mark.parametrize(("plain", "full"), [(False, "█"), (True, "#")])
def test_a_plot(plain: bool, full: str) -> None:
    """From the bottom; little is seen, nothing and the unknown are empty."""
    rows = plot([8.0, 4.0, 0.001, 0.0, None], 4, 8.0, plain=plain)
    assert [row[0] for row in rows] == [full] * 4
    assert [row[1] for row in rows] == [" ", " ", full, full]
    assert [row[2] for row in rows][:3] == [" "] * 3
    assert rows[3][2] not in (" ", "█")
    assert {row[3:] for row in rows} == {"  "}
    assert plot([0.0, None], 1, 0.0) == ["  "]


class Pauses(threading.Event):
    """An event that waits by a clock; it writes down how long it was to, and if it was set."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self.noted: list[tuple[float | None, bool]] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append((timeout, self.is_set()))
        if not self.is_set():
            self._clock.advance(timeout or 0.0)
        return self.is_set()


def test_a_mount_that_is_busy_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again after a late answer, but not soon; that it is gone is one sentence."""
    answers = AnswersInTurn(AnswerLate("busy"), status(MIB), NoAnswer("it does not answer"))
    monkeypatch.setattr(MODULE, "ask", answers)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    clock = ManualClock()
    pauses = Pauses(clock)
    Questions(Path("/nowhere"), events, pauses, clock).keep_asking()
    assert events.get(timeout=PATIENCE_S) == status(MIB)
    assert str(events.get(timeout=PATIENCE_S)) == "the mount on /nowhere has ended; see its log"
    assert [seconds for seconds, _ in pauses.noted][:2] == [1.0, LATE_PAUSE_S]


def test_pauses_and_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause grows with the answer, to a bound; only an open question counts as silence."""
    clock = ManualClock()
    pauses = Pauses(clock)
    questions = Questions(Path("/nowhere"), queue.SimpleQueue(), pauses, clock)
    answers = AnswersInTurn(
        status(), status(), AnswerLate("busy"), AnswerLate("busy"), status(), NoAnswer("gone")
    )
    took_s = iter([0.7, 8.0, 10.0, 10.0, 0.0, 0.0])
    silent_s: list[tuple[float, float]] = []

    def ask(place: Path, command: str) -> dict[str, Any]:
        before_s = questions.silent_s()
        clock.advance(next(took_s))
        silent_s.append((before_s, questions.silent_s()))
        return answers(place, command)

    monkeypatch.setattr(MODULE, "ask", ask)
    questions.keep_asking()
    assert [seconds for seconds, _ in pauses.noted] == [
        1.0, pytest.approx(7.0), LATE_PAUSE_S, LATE_PAUSE_S, LATE_PAUSE_S, 1.0,
    ]  # fmt: skip
    assert silent_s == [
        (0.0, pytest.approx(0.7)), (0.0, 8.0), (0.0, 10.0), (40.0, 50.0), (80.0, 80.0), (0.0, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("late", [False, True])
def test_a_stop_during_an_answer(monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """The next question follows at once, and the mount was not silent all the time."""
    clock = ManualClock()
    pauses = Pauses(clock)
    questions = Questions(Path("/nowhere"), queue.SimpleQueue(), pauses, clock)
    answers = AnswersInTurn(AnswerLate("busy") if late else status(), NoAnswer("gone"))

    def ask(place: Path, command: str) -> dict[str, Any]:
        clock.advance(3600.0)
        questions.hurry()
        assert questions.silent_s() == 0.0
        return answers(place, command)

    monkeypatch.setattr(MODULE, "ask", ask)
    questions.keep_asking()
    assert [hurried for _, hurried in pauses.noted] == [False, True]


def test_a_locale_that_lacks_a_name() -> None:
    """Its escapes count: no line of what is written is longer than the terminal."""
    name = "\u4e2d\u6587\u00e9"
    seen = watched(
        source=name * 9,
        processes={name: {"asked_bytes": MIB, "reads": 1, "failed": 0}},
        errors=[ERROR | {"file": name * 9}],
    )
    picture = drawn(seen, encoding="latin-1")
    assert "readers        \\u4e2d\\u6587\u00e9 " in picture
    written = picture.encode("latin-1", "backslashreplace").decode("latin-1")
    assert max(map(len, written.splitlines())) <= 80


@pytest.mark.parametrize("sized", [-(2**62), -1, 2**62])
def test_sizes_that_cannot_be(sized: int) -> None:
    """The bar is never longer than it is."""
    for total in (0, 1, -5, 2**62):
        sizes = {"sized": sized, "missing": 0, "total": total, "seconds_left": None}
        assert len(drawn(watched(sizes=sizes), 100, 60).replace(" ", "")) < 6000
