"""What a mount still has to find out: a bar on a terminal, lines in a pipe.

``mount --wait`` shows it until everything is known, ``status --watch`` beside the other figures.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from backlotfs.cli.mounted_files import place_of
from backlotfs.cli.status_text import sizes_left
from backlotfs.log.terminal import say
from backlotfs.mount.control.client import AnswerLate, NoAnswer, ask
from backlotfs.namespace.incomplete_notice import about

#: What ``--wait`` waits for: the listing, or all sizes as well.
LISTING, SIZES = "listing", "sizes"
#: How often a mount is asked, and how often a line is written where there is no terminal.
LOOK_S, LINE_S = 0.5, 10.0
#: A mount is left alone for so many times as long as its answer took: counting the sizes of 100 000
#: files takes it half a second, in which it does little else.
REST_FACTOR = 10.0
#: And for so long after an answer that did not come in time.
LATE_REST_S = 30.0
#: How often a mount is asked what a program that reads from it waits for.
CREDITS_LOOK_S = 2.0


def credits_note(answer: dict[str, Any]) -> str:
    """``API credits: more in 41 s`` while calls wait for credits; else empty."""
    credits = answer["credits"]
    if credits["more_in_s"] is None or not sum(credits["waiting"]) + sizes_left(answer):
        return ""
    return f"API credits: more in {about(credits['more_in_s'])}"


def in_a_line(answer: dict[str, Any]) -> str:
    """How far it is, in one line."""
    total = answer["sizes"]["total"]
    known = f"{total - sizes_left(answer)} of {total} sizes known"
    return ", ".join(filter(None, (known, _still_to_wait(answer))))


def _still_to_wait(answer: dict[str, Any]) -> str:
    """``about 3 min left, API credits: more in 41 s``, as far as it is known."""
    seconds = answer["sizes"]["seconds_left"]
    time_left = f"about {about(seconds)} left" if seconds and sizes_left(answer) else ""
    return ", ".join(filter(None, (time_left, credits_note(answer))))


class SizesBar:
    """A bar over the sizes that are known, for a terminal."""

    def __init__(self, console: Console) -> None:
        """Draw nothing yet: the owner starts `progress`, or shows it in a picture of its own."""
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self.progress.add_task("sizes", total=None, left="")

    def show(self, answer: dict[str, Any]) -> None:
        """Take the figures of an answer to ``status``."""
        total = answer["sizes"]["total"]
        self.progress.update(
            self._task,
            total=total,
            completed=total - sizes_left(answer),
            left=_still_to_wait(answer),
        )


class ListingProgress:
    """Shows the number of assets while a library is listed for the first time; a context manager.

    Not by rich: its bars draw on a thread, and a process with threads must not fork for the mount.
    """

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._said_s = time.monotonic()

    def show(self, assets: int) -> None:
        """So many assets are listed by now."""
        if self._on_terminal:
            sys.stderr.write(f"\rlisting the library: {assets} assets ")
            sys.stderr.flush()
        elif time.monotonic() - self._said_s >= LINE_S:
            self._said_s = time.monotonic()
            say(f"listing the library: {assets} assets", err=True)

    def __enter__(self) -> Self:
        """Show nothing yet."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Take the line away."""
        if self._on_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def wait_for(
    place: Path, what: str, *, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Return when a mount's listing is fresh, or all sizes are known; its last ``status``.

    A mount that takes longer to answer than `ask` waits is asked again: it is busy.

    :param what: `LISTING` or `SIZES`.
    :raises NoAnswer: the mount is gone.
    """
    console = Console(stderr=True)
    bar = SizesBar(console) if console.is_terminal else None
    said_s = time.monotonic()
    if bar is not None:
        bar.progress.start()
    try:
        while True:
            began_s = time.monotonic()
            try:
                answer = ask(place, "status")
            except AnswerLate:
                sleep(LATE_REST_S)
                continue
            took_s = time.monotonic() - began_s
            listed = answer["synced_at"] and not answer["syncing"]
            if (listed or answer["stale"]) and (what == LISTING or not sizes_left(answer)):
                return answer
            if bar is not None:
                bar.show(answer)
            elif time.monotonic() - said_s >= LINE_S:
                said_s = time.monotonic()
                say(in_a_line(answer), err=True)
            sleep(max(LOOK_S, REST_FACTOR * took_s))
    finally:
        if bar is not None:
            bar.progress.stop()


@contextlib.contextmanager
def noting_credits(paths: Iterable[str], note: Callable[[str], None]) -> Iterator[None]:
    """Say what the mounts of these paths wait for, while the body reads from them.

    :param note: is given ``API credits: more in 41 s`` while a program waits for that, else ``""``.
    """
    places = {place for path in paths if (place := place_of(path)) is not None}
    ended = threading.Event()
    noting = threading.Lock()  # so that nothing is noted after the body; an answer may take long

    def watch() -> None:
        rest_s = CREDITS_LOOK_S
        while not ended.wait(rest_s):
            began_s = time.monotonic()
            text = next(filter(None, map(_waits_for, places)), "")
            rest_s = max(CREDITS_LOOK_S, REST_FACTOR * (time.monotonic() - began_s))
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
        answer = ask(place, "status", timeout_s=CREDITS_LOOK_S)
    except NoAnswer:
        return ""
    return credits_note(answer) if answer["waiting"] else ""
