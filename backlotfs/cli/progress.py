# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: a bar on a terminal, otherwise only a few lines.

`TransferBar` shows what a command has done. `wait_for` shows how many sizes a mount knows, for
``mount --wait`` and ``refresh --wait``. `waits_shown` shows what a mount waits for. rich obeys
``NO_COLOR``. rich is imported only when something is drawn, because its import takes longer than
all other imports of these commands.
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
from backlotfs.log.terminal import about, counted, escaped, in_words, say
from backlotfs.mount.control.client import AnswerLate, NoAnswer, ask

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

#: What ``--wait`` waits for: the listing, all sizes as well, or the end of a refresh.
LISTING, SIZES, REFRESH = "listing", "sizes", "refresh"
#: The shortest time between two questions to a mount, and between two lines without a terminal.
STATUS_EVERY_S, LINE_EVERY_S = 0.5, 10.0
#: The pause after an answer is at least this many times as long as the answer took: to count
#: 100 000 sizes keeps a mount busy for half a second.
PAUSE_FACTOR = 10.0
#: The pause after an answer that did not come in time.
LATE_PAUSE_S = 30.0
#: The shortest time between two questions about what a program waits for.
CREDITS_EVERY_S = 2.0
#: Without a terminal, at most one line in this time says what the command waits for.
NOTE_EVERY_S = 60.0


class TransferBar:
    """A progress bar over bytes or files on stderr. Use as a context manager. Thread-safe.

    :ivar done: how much of the total is done.
    """

    def __init__(
        self, what: str, total: int | None, *, wanted: bool = True, of_files: bool = False
    ) -> None:
        """Prepare the bar.

        :param what: the label.
        :param total: bytes, or files if ``of_files``. None: the total is not known, so only the
            label and what the command waits for are shown, and the end erases both.
        :param wanted: False: show no bar and no notes, only the lines given to `say`.
        """
        self._wanted = wanted
        self._drawn: tuple[Progress, TaskID] | None = None
        if wanted and sys.stderr.isatty():
            progress = _label_alone() if total is None else _transfer_bar(of_files=of_files)
            self._drawn = progress, progress.add_task(what, total=total, note="")
        self._lock = threading.Lock()
        self._noted_s = -math.inf
        self.done = 0

    def moved(self, count: int) -> None:
        """Advance by ``count``; a negative count takes progress back."""
        with self._lock:
            self.done += count
        if self._drawn is not None:
            progress, task = self._drawn
            # unlike `advance`, `update` does not count a negative number as speed
            progress.update(task, advance=count)

    def note(self, text: str) -> None:
        """Show what the command waits for: beside the bar; without a bar, in a line a minute."""
        if self._drawn is not None:
            progress, task = self._drawn
            progress.update(task, note=text and f"waiting for {text}")
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

    def fill(self) -> None:
        """Show that all is done, even if a file became smaller after the total was computed."""
        if self._drawn is not None:
            progress, task = self._drawn
            progress.update(task, completed=progress.tasks[task].total)

    def say_last(self, line: str) -> None:
        """Leave the bar as it is, and write a line below it."""
        self.__exit__()
        self.say(line)

    def __enter__(self) -> TransferBar:
        """Draw the bar."""
        if self._drawn is not None:
            self._drawn[0].start()
        return self

    def __exit__(self, *_failure: object) -> None:
        """Leave the bar on the terminal as it is, except one without a total."""
        if self._drawn is not None:
            self._drawn[0].stop()


def _label_alone() -> Progress:
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


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
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        """The speed in powers of 1024, like the amounts; the column of rich uses powers of 1000."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{in_words(speed)}/s" if speed else "")

    amounts: list[ProgressColumn] = [MofNCompleteColumn()]
    if not of_files:
        amounts = [DownloadColumn(binary_units=True), Speed()]
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


def calls_wait(answer: dict[str, Any]) -> str:
    """As `credits_note`, but only if a program waits for an API call of its own."""
    return credits_note(answer) if answer["waiting"] else ""


def sizes_wait(answer: dict[str, Any]) -> str:
    """``sizes: 236 of 1200 known, about 5 min left``; empty if all are known."""
    left = sizes_left(answer)
    if not left:
        return ""
    total = answer["sizes"]["total"]
    known = f"sizes: {total - left} of {total} known"
    return ", ".join(filter(None, (known, _time_left(answer))))


def sizes_line(answer: dict[str, Any], *, credits: bool = True) -> str:
    """``5 of 11 sizes known, about 3 min left, API credits: more in 41 s``.

    Parts that are not known are left out.

    :param credits: whether to say when there are more credits.
    """
    total = answer["sizes"]["total"]
    known = f"{total - sizes_left(answer)} of {counted(total, 'size')} known"
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
            sys.stderr.write(f"\rlisting the library: {counted(assets, 'asset')} ")
            sys.stderr.flush()
        elif time.monotonic() - self._said_s >= LINE_EVERY_S:
            self._said_s = time.monotonic()
            say(f"listing the library: {counted(assets, 'asset')}", err=True)

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

    If the last refresh has failed, do not wait for the listing: the answer is ``stale``. A mount
    that does not answer in time is busy, and is asked again.

    :param what: `LISTING`, `SIZES`, or `REFRESH`. For `REFRESH`, a failure counts only after the
        refresh that runs now has ended.
    :raises NoAnswer: the mount has ended, or answers with an error.
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
            stale = answer["stale"] and (what != REFRESH or not answer["syncing"])
            listed = stale or (answer["synced_at"] and not answer["syncing"])
            if listed and (what != SIZES or not sizes_left(answer)):
                return answer
            if bar is not None:
                bar.show(answer)
            elif time.monotonic() - said_s >= LINE_EVERY_S:
                said_s = time.monotonic()
                say(sizes_line(answer), err=True)
            sleep(max(STATUS_EVERY_S, PAUSE_FACTOR * took_s))


@contextlib.contextmanager
def waits_shown(
    paths: Iterable[str],
    note: Callable[[str], None],
    words: Callable[[dict[str, Any]], str] = calls_wait,
    export: Callable[[], dict[str, int]] | None = None,
) -> Iterator[None]:
    """Within the block, show what the mounts of these paths wait for.

    :param note: called with a text, such as ``API credits: more in 41 s``, or with ``""``.
    :param words: makes this text from an answer to ``status``.
    :param export: the progress of an export, which the mounts show in their ``status``.
    """
    places = {place for path in paths if (place := mount_of(path)) is not None}
    ended = threading.Event()
    noting = threading.Lock()  # so that no late answer calls `note` after the end of the block

    def watch() -> None:
        pause_s = CREDITS_EVERY_S
        while not ended.wait(pause_s):
            began_s = time.monotonic()
            texts = [_of_mount(place, words, export) for place in places]
            text = next(filter(None, texts), "")
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


def _of_mount(
    place: Path,
    words: Callable[[dict[str, Any]], str],
    export: Callable[[], dict[str, int]] | None,
) -> str:
    more = {} if export is None else {"export": export()}
    try:
        return words(ask(place, "status", timeout_s=CREDITS_EVERY_S, **more))
    except NoAnswer:
        return ""
