# SPDX-License-Identifier: Apache-2.0
"""How far a mount is: what is said of it, and how long somebody waits for it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from backlotfs.cli.progress import (
    LISTING,
    REFRESH,
    SIZES,
    ListingProgress,
    SizesBar,
    TransferBar,
    credits_note,
    sizes_line,
    sizes_wait,
    wait_for,
    waits_shown,
)
from backlotfs.mount.control.client import AnswerLate, NoAnswer
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S

MODULE = import_module("backlotfs.cli.progress")
PLACE = Path("/mnt/library")


def answer(
    sized: int = 10,
    *,
    listed: float = 5.0,
    syncing: bool = False,
    stale: bool = False,
    seconds_left: float | None = None,
    more_in_s: float | None = None,
    calls: int = 0,
    programs: int = 0,
) -> dict[str, Any]:
    """What ``status`` says of ten files, one of which has no source."""
    return {
        "sizes": {"total": 11, "sized": sized, "missing": 1, "seconds_left": seconds_left},
        "credits": {"more_in_s": more_in_s, "waiting": [0, calls]},
        "synced_at": listed,
        "syncing": syncing,
        "stale": stale,
        "waiting": [{}] * programs,
    }


class Mount:
    """Gives one answer after the other, the last for ever; a `NoAnswer` is raised."""

    def __init__(self, *answers: dict[str, Any] | NoAnswer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Path, str]] = []

    def ask(self, place: Path, command: str, **_more: object) -> dict[str, Any]:
        self.asked.append((place, command))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, NoAnswer):
            raise found
        return found


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mount]:
    """Makes one that is asked from now on."""

    def make(*answers: dict[str, Any] | NoAnswer) -> Mount:
        mount = Mount(*answers)
        monkeypatch.setattr(MODULE, "ask", mount.ask)
        return mount

    return make


def drawn(monkeypatch: pytest.MonkeyPatch, *moves: int) -> str:
    """What a terminal gets of a bar over 100 bytes."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with TransferBar("export", 100) as bar:
            for count in moves:
                bar.moved(count)
            bar.say_last("stopped: it is half done")
            bar.note("")
        monkeypatch.undo()
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while piece := screen.read(65536):  # EIO once all is read: the other end is closed
            said += piece
    return said.decode()


def test_the_last_line_is_below_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which stays as it is: what the command says last is what is read."""
    said = drawn(monkeypatch, 50)
    assert "50/100" in said
    assert said.rindex("50/100") < said.rindex("stopped: it is half done")


def test_what_is_taken_back_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is begun again: no rate is below nothing, nor the time that is left."""
    said = drawn(monkeypatch, 50, 20, -60)
    assert "10/100" in said
    assert not re.search(r"-\d", said)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (answer(), "11 of 11 sizes known"),
        (answer(4), "5 of 11 sizes known"),
        (answer(4, seconds_left=180.0), "5 of 11 sizes known, about 3 min left"),
        (
            answer(4, seconds_left=180.0, more_in_s=41.0),
            "5 of 11 sizes known, about 3 min left, API credits: more in 41 s",
        ),
        (answer(seconds_left=180.0), "11 of 11 sizes known"),
    ],
)
def test_sizes_line(found: dict[str, Any], line: str) -> None:
    """As much as is known."""
    assert sizes_line(found) == line


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (answer(), ""),
        (answer(4), "sizes: 5 of 11 known"),
        (answer(4, seconds_left=180.0, more_in_s=41.0), "sizes: 5 of 11 known, about 3 min left"),
    ],
)
def test_what_a_search_waits_for(found: dict[str, Any], text: str) -> None:
    """All sizes, not the next few of them."""
    assert sizes_wait(found) == text


def test_credits_are_of_interest_to_those_who_wait() -> None:
    """For sizes, or for a call of their own."""
    assert credits_note(answer(more_in_s=41.0)) == ""
    assert credits_note(answer(9, more_in_s=41.0)) == "API credits: more in 41 s"
    assert credits_note(answer(more_in_s=41.0, calls=1)) == "API credits: more in 41 s"
    assert credits_note(answer(9)) == ""


@pytest.mark.parametrize(
    ("what", "answers"),
    [
        (LISTING, [answer(0, listed=0.0, syncing=True), answer(0, syncing=True), answer(0)]),
        (SIZES, [answer(10, syncing=True), answer(4), answer(9), answer(10)]),
        (LISTING, [answer(4, syncing=True), answer(4, syncing=True, stale=True)]),
        (SIZES, [answer(9, stale=True), answer(10, stale=True)]),
        (REFRESH, [answer(4, syncing=True, stale=True), answer(4)]),
        (REFRESH, [answer(4, syncing=True, stale=True), answer(4, stale=True)]),
    ],
    ids=["listing", "sizes", "stale", "sizes of what is stale", "refreshed", "still stale"],
)
def test_waiting(mounted: Callable[..., Mount], what: str, answers: list[dict[str, Any]]) -> None:
    """Until all of it is there, and no longer, with a rest between two looks."""
    mount = mounted(*answers)
    slept: list[float] = []
    assert wait_for(PLACE, what, sleep=slept.append) is answers[-1]
    assert mount.asked == [(PLACE, "status")] * len(answers)
    assert len(slept) == len(answers) - 1
    assert min(slept) >= MODULE.STATUS_EVERY_S


def test_a_mount_that_takes_long_to_answer_is_asked_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that waiting for a large library does not slow it down."""
    clock = ManualClock()
    answers = [answer(4), answer(9), answer(10)]

    def ask(_place: Path, _command: str) -> dict[str, Any]:
        clock.advance(0.7)
        return answers.pop(0)

    monkeypatch.setattr(MODULE, "ask", ask)
    monkeypatch.setattr(MODULE.time, "monotonic", clock.monotonic)
    slept: list[float] = []
    wait_for(PLACE, SIZES, sleep=slept.append)
    assert slept == pytest.approx([7.0, 7.0])


def test_waiting_in_a_pipe(
    mounted: Callable[..., Mount],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line now and then; on standard error, where no program takes it for the result."""
    mounted(answer(4), answer(9), answer(10))
    wait_for(PLACE, SIZES, sleep=lambda _s: None)
    assert capsys.readouterr() == ("", "")
    mounted(answer(4), answer(9), answer(10))
    monkeypatch.setattr(MODULE, "LINE_EVERY_S", 0.0)
    wait_for(PLACE, SIZES, sleep=lambda _s: None)
    assert capsys.readouterr() == ("", "5 of 11 sizes known\n10 of 11 sizes known\n")


def test_waiting_for_a_mount_that_ends(mounted: Callable[..., Mount]) -> None:
    """Is over, with what the mount's absence means."""
    mounted(answer(4), NoAnswer("no mount of this user answers"))
    with pytest.raises(NoAnswer, match="no mount"):
        wait_for(PLACE, SIZES, sleep=lambda _s: None)


def test_waiting_for_a_mount_that_is_busy(mounted: Callable[..., Mount]) -> None:
    """Goes on: one answer that comes too late says nothing of the mount's end."""
    late = AnswerLate("no mount of this user answers in 10 s")
    mount = mounted(answer(4), late, late, answer(10))
    slept: list[float] = []
    assert wait_for(PLACE, SIZES, sleep=slept.append) == answer(10)
    assert len(mount.asked) == 4
    assert min(slept[1:]) >= 10.0


def test_a_bar() -> None:
    """How many of how many, and what is waited for."""
    console = Console(width=200, record=True, force_terminal=True)
    bar = SizesBar()
    bar.show(answer(4, seconds_left=180.0, more_in_s=41.0))
    console.print(bar.progress)
    shown = console.export_text()
    assert "5/11" in shown
    assert "about 3 min left, API credits: more in 41 s" in shown


def test_the_first_listing_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line now and then."""
    with ListingProgress() as progress:
        progress.show(500)
        monkeypatch.setattr(MODULE, "LINE_EVERY_S", 0.0)
        progress.show(1000)
    assert capsys.readouterr() == ("", "listing the library: 1000 assets\n")


def test_the_first_listing_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that changes, and goes in the end, also where that is a failure."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def fail() -> None:
        with ListingProgress() as progress:
            progress.show(500)
            progress.show(1000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    shown = capsys.readouterr().err
    assert shown.split("\r") == [
        "", "listing the library: 500 assets ", "listing the library: 1000 assets ", "\033[K",
    ]  # fmt: skip


def test_what_a_copy_waits_for(
    mounted: Callable[..., Mount], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    """Is noted while programs wait, and taken back; a mount that does not answer is no reason."""
    monkeypatch.setattr(MODULE, "CREDITS_EVERY_S", 0.01)
    waits = answer(9, more_in_s=41.0, programs=1)
    mount = mounted(waits, NoAnswer("busy"), waits, answer(9, more_in_s=41.0))
    notes: queue.Queue[str] = queue.Queue()
    with waits_shown([str(place / "a.mov"), str(place)], notes.put):
        said = [notes.get(timeout=PATIENCE_S) for _ in range(4)]
    assert said == ["API credits: more in 41 s", "", "API credits: more in 41 s", ""]
    assert set(mount.asked) == {(place, "status")}


def test_a_copy_asks_less_often_where_an_answer_takes_long(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    """A mount that counts a hundred thousand sizes does little else meanwhile."""
    monkeypatch.setattr(MODULE, "CREDITS_EVERY_S", 0.01)
    clock = ManualClock()
    asked: queue.Queue[str] = queue.Queue()

    def ask(_place: Path, command: str, **_more: object) -> dict[str, Any]:
        clock.advance(60.0)
        asked.put(command)
        return answer()

    monkeypatch.setattr(MODULE, "ask", ask)
    monkeypatch.setattr(MODULE.time, "monotonic", clock.monotonic)
    with waits_shown([str(place)], lambda _text: None):
        asked.get(timeout=PATIENCE_S)
        time.sleep(0.2)
    assert asked.empty()


def test_nothing_is_noted_after_a_copy(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Also where the mount answers when the copy has ended already."""
    monkeypatch.setattr(MODULE, "CREDITS_EVERY_S", 0.01)
    asked, ended = threading.Event(), threading.Event()
    watchers: list[threading.Thread] = []

    def ask(_place: Path, _command: str, **_more: object) -> dict[str, Any]:
        watchers.append(threading.current_thread())
        asked.set()
        ended.wait(PATIENCE_S)
        return answer(9, more_in_s=41.0, programs=1)

    monkeypatch.setattr(MODULE, "ask", ask)
    notes: list[str] = []
    with waits_shown([str(place)], notes.append):
        assert asked.wait(PATIENCE_S)
    ended.set()
    watchers[0].join(PATIENCE_S)
    assert not watchers[0].is_alive()
    assert notes == []
