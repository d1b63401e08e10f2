"""A progress bar over bytes or files, on a terminal only; else only the lines that matter."""

from __future__ import annotations

import math
import sys
import threading
import time

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

from backlotfs.log.terminal import escaped, say

#: Without a bar, what the work waits for is said so often at most.
NOTE_EVERY_S = 60.0


class TransferBar:
    """Shows what is done of a total on stderr; use it as a context manager. Any thread may advance.

    Colours follow ``NO_COLOR`` (rich looks at it).
    """

    def __init__(
        self, what: str, total: int, *, wanted: bool = True, of_files: bool = False
    ) -> None:
        """``what`` is done, as a word; not ``wanted``: say only what is told to `say`.

        :param total: so many bytes, or files where it is a bar ``of_files``.
        """
        self._wanted = wanted
        amounts: list[ProgressColumn] = [MofNCompleteColumn()]
        if not of_files:
            amounts = [DownloadColumn(binary_units=True), TransferSpeedColumn()]
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *amounts,
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            disable=not (wanted and sys.stderr.isatty()),
        )
        self._task = self._progress.add_task(what, total=total, note="")
        self._lock = threading.Lock()
        self._noted_s = -math.inf

    def moved(self, count: int) -> None:
        """So many more are done; less than 0: so many are to be done again."""
        self._progress.advance(self._task, count)

    def note(self, text: str) -> None:
        """What the work waits for, beside the bar; where there is none, a line once a minute."""
        with self._lock:
            due = text != "" and time.monotonic() - self._noted_s >= NOTE_EVERY_S
            if self._progress.disable and due and self._wanted:
                self._noted_s = time.monotonic()
                say(f"waiting for {text}", err=True)
        self._progress.update(self._task, note=text)

    def say(self, line: str) -> None:
        """A line on stderr, above the bar where there is one."""
        if self._progress.disable:
            say(line, err=True)
        else:  # names of files may look like rich's own language
            self._progress.console.print(
                escaped(line), markup=False, emoji=False, highlight=False, soft_wrap=True
            )

    def __enter__(self) -> TransferBar:
        """Draw it."""
        self._progress.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        """Leave it as it is then."""
        self._progress.stop()
