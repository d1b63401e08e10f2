"""The picture of ``status --watch``: it fits, says everything, and passes no foreign text on."""

from __future__ import annotations

import io
import queue
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from backlotfs.cli.live_status import frame, plot
from backlotfs.cli.read_rates import Totals, Watched
from backlotfs.mount.control.client import AnswerLate, NoAnswer, problem_of
from tests.fakes.workers import PATIENCE_S

MODULE = import_module("backlotfs.cli.live_status")
MIB = 1 << 20
ERROR = {"at": 1_456_868_592.5, "file": "/clip.mov", "embed_code": "E1", "errno": "EIO",
         "reason": "source host h answers 503", "times": 3}  # fmt: skip
WAITING = {"pid": 71, "program": "mpv", "file": "late.mov", "for": "url", "seconds": 12.0}


def answer(read: int = 0, **more: Any) -> dict[str, Any]:
    """An answer to ``status`` of a busy mount."""
    programs = {
        f"prog{n}": {"asked_bytes": read // (n + 1), "reads": 1, "failed": n} for n in range(20)
    }
    whole = {"read_bytes": read, "fetched_bytes": read // 2}
    return {
        "source": "backlot:main", "mountpoint": "/mnt/a", "pid": 7, "since": 1_456_868_592.0,
        "assets": 10, "synced_at": 0.0, "stale": False, "last_error": None, "size_bytes": 3 << 30,
        "sizes": {"sized": 4, "missing": 1, "total": 10, "seconds_left": 4000.0},
        "syncing": False, "errors": [ERROR] * 9, "processes": programs,
        "cache": {"memory": {"cached_bytes": MIB, "budget_bytes": 1 << 28}, "disk": None,
                  "pinned": None},
        "throughput": {"now": {"read_bytes_per_s": 2048, "fetched_bytes_per_s": 1024},
                       "since_start": whole | {"read_bytes_per_s": 10, "fetched_bytes_per_s": 20}},
        "reads": {"asked_bytes": read, "reads": 3, "failed": 0,
                  "blocks": {"memory": 6 * read // MIB, "disk": 0, "network": 2 * read // MIB}},
        "next_files": {"fetched_bytes": 3 * MIB, "read_bytes": 2 * MIB, "unread_bytes": MIB},
        "credits": {"credits_left": 200, "limit": 300, "more_in_s": 41.0, "waiting": [0, 1, 0, 0]},
        "waiting": [WAITING] * 9, "url_refreshes": 3, "fuse_binding": "session",
        "passthrough": {"off": "", "opens": 5, "files": 2}, "log": "syslog",
        **more,
    }  # fmt: skip


def watched(**more: Any) -> Watched:
    """A mount that has read a MiB in the last second, and as much each 10 s before."""
    seen = Watched(Totals(900.0 + 10 * n, n * MIB, n * MIB // 2) for n in range(10))
    for second in range(3):
        seen.add(1000.0 + second, answer((10 + second) * MIB, **more))
    return seen


def drawn(
    seen: Watched,
    width: int = 80,
    height: int = 24,
    *,
    silent_s: float = 0.0,
    encoding: str = "utf-8",
) -> str:
    """The picture on a terminal of this size, without colours."""
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding)
    console = Console(file=file, width=width, height=height, no_color=True, force_terminal=False)
    return frame(seen, seen.at_s + silent_s, console).plain


def test_the_answer_is_one() -> None:
    """What these tests draw has the form that a mount's answer has."""
    assert problem_of(answer(), "status") is None


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


def test_a_mount_that_is_busy_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again after a late answer; that it is gone is one sentence."""
    answers: list[dict[str, Any] | NoAnswer] = [
        AnswerLate("busy"), answer(MIB), NoAnswer("it does not answer"),
    ]  # fmt: skip

    def ask(_place: Path, _command: str) -> dict[str, Any]:
        found = answers.pop(0)
        if isinstance(found, NoAnswer):
            raise found
        return found

    monkeypatch.setattr(MODULE, "ask", ask)
    monkeypatch.setattr(MODULE.time, "sleep", lambda _seconds: None)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    MODULE._keep_asking(Path("/nowhere"), events)
    assert events.get(timeout=PATIENCE_S) == answer(MIB)
    assert str(events.get(timeout=PATIENCE_S)) == "the mount on /nowhere has ended; see its log"
