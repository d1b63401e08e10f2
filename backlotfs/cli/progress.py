"""Progress on stderr: a bar on a terminal, otherwise only lines that matter.

`TransferBar` shows what a command has done. `wait_for` shows the sizes that a mount still has to
find out, for ``mount --wait``. `credits_shown` adds what a mount waits for. Colours follow
``NO_COLOR`` (rich reads it). rich is imported when something is drawn, as that takes longer than
all else that these commands import.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from backlotfs.cli.mountpoints import mount_of
from backlotfs.log.terminal import about, escaped, say
from backlotfs.mount.control.client import AnswerLate, NoAnswer, ask

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: What ``--wait`` waits for: the listing, or all sizes as well.
LISTING, SIZES = "listing", "sizes"
#: Time between two questions to a mount, and between two lines without a terminal.
STATUS_EVERY_S, LINE_EVERY_S = 0.5, 10.0
#: The pause after an answer is at least this many times as long as the answer took: to count
#: 100 000 sizes keeps a mount busy for half a second.
PAUSE_FACTOR = 10.0
#: The pause after an answer that did not come in time.
LATE_PAUSE_S = 30.0
#: Time between two questions what a program waits for.
CREDITS_EVERY_S = 2.0
#: Without a terminal, one line at most in this time says what the command waits for.
NOTE_EVERY_S = 60.0


class TransferBar:
    """A progress bar over bytes or files on stderr. Use as a context manager. Thread-safe."""

    def __init__(
        self, what: str, total: int, *, wanted: bool = True, of_files: bool = False
    ) -> None:
        """Prepare the bar.

        :param what: a verb for the label. :param total: bytes, or files if ``of_files``.
        :param wanted: False: show no bar, only lines given to `say`.
        """
        self._wanted = wanted
        self._drawn: tuple[Progress, TaskID] | None = None
        if wanted and sys.stderr.isatty():
            progress = _transfer_bar(of_files=of_files)
            self._drawn = progress, progress.add_task(what, total=total, note="")
        self._lock = threading.Lock()
        self._noted_s = -math.inf

    def moved(self, count: int) -> None:
        """Advance by ``count``; a negative count takes progress back."""
        if self._drawn is not None:
            progress, task = self._drawn
            progress.advance(task, count)

    def note(self, text: str) -> None:
        """Show what the command waits for: beside the bar, else in one line a minute."""
        if self._drawn is not None:
            progress, task = self._drawn
            progress.update(task, note=text)
            return
        with self._lock:
            due = text != "" and time.monotonic() - self._noted_s >= NOTE_EVERY_S
            if due and self._wanted:
                self._noted_s = time.monotonic()
                say(f"waiting for {text}", err=True)

    def say(self, line: str) -> None:
        """Write a line to stderr, above the bar if there is one."""
        if self._drawn is None:
            say(line, err=True)
        else:  # a file name may look like rich's markup
            self._drawn[0].console.print(
                escaped(line), markup=False, emoji=False, highlight=False, soft_wrap=True
            )

    def __enter__(self) -> TransferBar:
        """Draw the bar."""
        if self._drawn is not None:
            self._drawn[0].start()
        return self

    def __exit__(self, *_failure: object) -> None:
        """Leave the bar on the terminal as it is."""
        if self._drawn is not None:
            self._drawn[0].stop()


def _transfer_bar(*, of_files: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amounts: list[ProgressColumn] = [MofNCompleteColumn()]
    if not of_files:
        amounts = [DownloadColumn(binary_units=True), TransferSpeedColumn()]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *amounts,
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
    )


def sizes_left(answer: dict[str, Any]) -> int:
    """The number of files whose size is not known yet."""
    sizes = answer["sizes"]
    return int(sizes["total"] - sizes["sized"] - sizes["missing"])


def credits_note(answer: dict[str, Any]) -> str:
    """``API credits: more in 41 s`` while calls wait for credits; else empty."""
    credits = answer["credits"]
    if credits["more_in_s"] is None or not sum(credits["waiting"]) + sizes_left(answer):
        return ""
    return f"API credits: more in {about(credits['more_in_s'])}"


def sizes_line(answer: dict[str, Any], *, credits: bool = True) -> str:
    """``5 of 11 sizes known, about 3 min left, API credits: more in 41 s``, as far as known.

    :param credits: whether to say when there are more credits.
    """
    total = answer["sizes"]["total"]
    known = f"{total - sizes_left(answer)} of {total} sizes known"
    note = credits_note(answer) if credits else ""
    return ", ".join(filter(None, (known, _time_left(answer), note)))


def _time_left(answer: dict[str, Any]) -> str:
    seconds = answer["sizes"]["seconds_left"]
    return f"about {about(seconds)} left" if seconds and sizes_left(answer) else ""


class SizesBar:
    """A bar over the known sizes, on stderr."""

    def __init__(self) -> None:
        """Draw nothing: the owner starts `progress`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self.progress.add_task("sizes", total=None, left="")

    def show(self, answer: dict[str, Any]) -> None:
        """Take the figures from an answer to ``status``."""
        total = answer["sizes"]["total"]
        self.progress.update(
            self._task,
            total=total,
            completed=total - sizes_left(answer),
            left=", ".join(filter(None, (_time_left(answer), credits_note(answer)))),
        )


class ListingProgress:
    """Shows the number of assets during the first listing of a library; a context manager.

    It does not use rich, whose bars start a thread: a process with threads must not fork.
    """

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._said_s = time.monotonic()

    def show(self, assets: int) -> None:
        """Show the number of assets listed so far."""
        if self._on_terminal:
            sys.stderr.write(f"\rlisting the library: {assets} assets ")
            sys.stderr.flush()
        elif time.monotonic() - self._said_s >= LINE_EVERY_S:
            self._said_s = time.monotonic()
            say(f"listing the library: {assets} assets", err=True)

    def __enter__(self) -> Self:
        """Show nothing yet."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Erase the line."""
        if self._on_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def wait_for(
    place: Path, what: str, *, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Wait until a mount's listing is up to date, or all sizes are known; return its ``status``.

    A mount that does not answer in time is busy, and is asked again.

    :param what: `LISTING` or `SIZES`.
    :raises NoAnswer: the mount is gone.
    """
    bar = SizesBar() if sys.stderr.isatty() else None
    said_s = time.monotonic()
    with bar.progress if bar is not None else contextlib.nullcontext():
        while True:
            began_s = time.monotonic()
            try:
                answer = ask(place, "status")
            except AnswerLate:
                sleep(LATE_PAUSE_S)
                continue
            took_s = time.monotonic() - began_s
            listed = answer["synced_at"] and not answer["syncing"]
            if (listed or answer["stale"]) and (what == LISTING or not sizes_left(answer)):
                return answer
            if bar is not None:
                bar.show(answer)
            elif time.monotonic() - said_s >= LINE_EVERY_S:
                said_s = time.monotonic()
                say(sizes_line(answer), err=True)
            sleep(max(STATUS_EVERY_S, PAUSE_FACTOR * took_s))


@contextlib.contextmanager
def credits_shown(paths: Iterable[str], note: Callable[[str], None]) -> Iterator[None]:
    """While inside, show whether the mounts of these paths wait for API credits.

    :param note: called with ``API credits: more in 41 s`` while a program waits, else with ``""``.
    """
    places = {place for path in paths if (place := mount_of(path)) is not None}
    ended = threading.Event()
    noting = threading.Lock()  # no call of `note` after the body: an answer may take long

    def watch() -> None:
        pause_s = CREDITS_EVERY_S
        while not ended.wait(pause_s):
            began_s = time.monotonic()
            text = next(filter(None, map(_waits_for, places)), "")
            pause_s = max(CREDITS_EVERY_S, PAUSE_FACTOR * (time.monotonic() - began_s))
            with noting:
                if not ended.is_set():
                    note(text)

    if places:
        threading.Thread(target=watch, name="credits", daemon=True).start()
    try:
        yield
    finally:
        with noting:
            ended.set()


def _waits_for(place: Path) -> str:
    try:
        answer = ask(place, "status", timeout_s=CREDITS_EVERY_S)
    except NoAnswer:
        return ""
    return credits_note(answer) if answer["waiting"] else ""
