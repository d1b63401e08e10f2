# SPDX-License-Identifier: Apache-2.0
"""``backlotfs warm`` fetches files into the disk cache before they are needed.

A file is fetched in pieces, several at a time. A piece is fetched in steps: the command asks the
mount for one step after the other, so no further step starts after the command has ended. ``pin``
fetches in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import click

from backlotfs.cli.mountpoints import PATHS, MountedFile, mounted_files
from backlotfs.cli.progress import TransferBar
from backlotfs.config.time_limits import WARM_ANSWER_S
from backlotfs.errors import BacklotError, CommandFailed, Interrupted
from backlotfs.log.terminal import about, counted, in_words, printable, say, say_json
from backlotfs.mount.control.client import ask

JOBS = 4
#: The part of a file that one job fetches before it takes the next piece.
PIECE_BYTES = 64 * 1024 * 1024
#: Bytes of one step. The next step is half as long if this one took longer than `LONG_S`, and twice
#: as long if it took less than `QUICK_S`.
LEAST_STEP_BYTES, FIRST_STEP_BYTES, MOST_STEP_BYTES = 64 * 1024, 1024 * 1024, 8 * 1024 * 1024
QUICK_S, LONG_S = 1.0, 5.0
#: Longest pause before a mount that waits for an API credit is asked again.
CREDIT_PAUSE_S = 2.0

JOBS_OPTION = click.option(
    "--jobs", type=click.IntRange(1, 32), default=JOBS, help=f"Files fetched in parallel [{JOBS}]."
)


@click.command()
@PATHS
@JOBS_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def warm(paths: tuple[Path, ...], jobs: int, as_json: bool) -> None:
    """Fetch files, or all files below folders, of a running mount into its disk cache.

    Later reads fetch nothing, even after a restart. Cached parts are not fetched again: after
    Ctrl-C, run the same command to continue.
    """
    began_s = time.monotonic()
    files = inspect(paths, jobs, wanted=not as_json)
    check_room(files)
    fetch(files, jobs, "warm", wanted=not as_json)
    report(files, "warm", as_json, time.monotonic() - began_s)


@dataclass(slots=True)
class Warmed:
    """One file and how far it is in the disk cache.

    :ivar size: in bytes. :ivar cached_bytes_before: cached before the command.
    :ivar cached_bytes: cached now. :ivar fetched: bytes downloaded for it by the command.
    :ivar takes: size of its blocks on disk. :ivar pinned: whether room is reserved for it.
    :ivar room: bytes that the disk cache has for files that are not pinned.
    :ivar error: why it is not cached completely; None: there is no error.
    """

    file: MountedFile
    embed_code: str = ""
    version: str = ""
    size: int = 0
    cached_bytes_before: int = 0
    cached_bytes: int = 0
    fetched: int = 0
    takes: int = 0
    pinned: bool = False
    room: int = 0
    error: BacklotError | None = None


def by_mount(files: Iterable[Warmed]) -> dict[Path, list[Warmed]]:
    """Group the files by their mountpoints."""
    groups: dict[Path, list[Warmed]] = {}
    for warmed in files:
        groups.setdefault(warmed.file.place, []).append(warmed)
    return groups


def inspect(paths: Iterable[Path], jobs: int, *, wanted: bool) -> list[Warmed]:
    """Ask the mounts for size and cached bytes of the named files and all below named folders.

    An error of one file is printed and stored with it.

    :param wanted: whether to show that the command is looking for files.
    :raises BacklotError: see `mounted_files`.
    """
    files = mounted_files(paths)
    with TransferBar("looking for files …", None, wanted=wanted) as bar:
        return WarmRun(jobs, bar).inspect(files)


def check_room(files: Sequence[Warmed]) -> None:
    """:raises BacklotError: the files do not fit into the disk cache of their mount."""
    wanted = (warmed for warmed in files if warmed.error is None and not warmed.pinned)
    for place, mine in by_mount(wanted).items():
        room = min(warmed.room for warmed in mine)
        if sum(warmed.takes for warmed in mine) > room:
            raise BacklotError(
                f"the files have {in_words(sum(warmed.size for warmed in mine))}, the disk cache "
                f"of {place} has room for {in_words(max(0, room))}: name fewer files, or mount "
                "with a larger --cache-size"
            )


def fetch(files: Sequence[Warmed], jobs: int, command: str, *, wanted: bool) -> None:
    """Fetch what is not cached yet, with a bar if it is ``wanted``."""
    total_bytes = sum(warmed.size for warmed in files if warmed.cached_bytes < warmed.size)
    with TransferBar(command, total_bytes, wanted=wanted and total_bytes > 0) as bar:
        WarmRun(jobs, bar).warm(files)


class _Piece(NamedTuple):
    warmed: Warmed
    start: int
    stop: int


class WarmRun:
    """Asks the mounts about files, or to fetch them, on ``jobs`` threads. Used once."""

    def __init__(self, jobs: int, bar: TransferBar) -> None:
        """:param bar: shows progress, errors and waits for API credits."""
        self._jobs = jobs
        self._bar = bar
        self._ended = Event()

    def inspect(self, files: Iterable[MountedFile]) -> list[Warmed]:
        """Ask for size and cached bytes of each source of a mount, once.

        Files that the mount generates (``--sidecars``, ``--captions``) are left out.
        """
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                found = list(pool.map(self._inspect, files))
            except BaseException:
                self._ended.set()  # after Ctrl-C no thread goes on waiting
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        sources: dict[object, Warmed] = {}
        for warmed in found:
            if warmed is None:
                continue
            source = (warmed.file.place, warmed.embed_code) if warmed.embed_code else warmed.file
            sources.setdefault(source, warmed)
        return list(sources.values())

    def warm(self, files: Sequence[Warmed]) -> None:
        """Fetch what is not cached, then check: other blocks may have evicted the fetched ones."""
        sound = [warmed for warmed in files if warmed.error is None]
        pieces = [
            _Piece(warmed, start, min(start + PIECE_BYTES, warmed.size))
            for warmed in sound
            if warmed.cached_bytes < warmed.size
            for start in range(0, warmed.size, PIECE_BYTES)
        ]
        pool = ThreadPoolExecutor(self._jobs)
        try:
            list(pool.map(self._warm, pieces))
        finally:
            self._ended.set()  # after Ctrl-C no step starts
            pool.shutdown(cancel_futures=True)
        for mine in by_mount(sound).values():
            for number, warmed in enumerate(mine):
                self._check(warmed, settle=not number)

    def _inspect(self, file: MountedFile) -> Warmed | None:
        warmed = Warmed(file)
        try:
            answer = self._ask(file, "cached")
        except BacklotError as error:
            self._fail(warmed, error)
            return warmed
        if answer.get("virtual"):
            return None
        warmed.embed_code, warmed.version = answer["id"], answer["version"]
        warmed.size, warmed.cached_bytes_before = answer["size"], answer["cached_bytes"]
        warmed.cached_bytes, warmed.pinned = warmed.cached_bytes_before, answer["pinned"]
        block = max(1, answer["block"])
        warmed.takes, warmed.room = -(-warmed.size // block) * block, answer["room"]
        return warmed

    def _warm(self, piece: _Piece) -> None:
        warmed, offset, length = piece.warmed, piece.start, FIRST_STEP_BYTES
        while offset < piece.stop and warmed.error is None and not self._ended.is_set():
            began_s = time.monotonic()
            try:
                answer = self._ask(
                    warmed.file,
                    "warm",
                    version=warmed.version,
                    offset=offset,
                    length=min(length, piece.stop - offset),
                )
            except BacklotError as error:
                self._fail(warmed, error)
                return
            reached = min(answer["reached"], piece.stop)
            self._bar.moved(reached - offset)
            warmed.fetched += answer["fetched_bytes"]
            offset = reached
            took_s = time.monotonic() - began_s
            if took_s > LONG_S:
                length = max(LEAST_STEP_BYTES, length // 2)
            elif took_s < QUICK_S:
                length = min(MOST_STEP_BYTES, length * 2)

    def _check(self, warmed: Warmed, *, settle: bool) -> None:
        try:
            warmed.cached_bytes = self._ask(warmed.file, "cached", settle=settle)["cached_bytes"]
        except BacklotError as error:
            self._fail(warmed, error)
            return
        if warmed.cached_bytes < warmed.size:
            evicted = BacklotError(
                f"{in_words(warmed.size - warmed.cached_bytes)} of it were evicted for other "
                "blocks: warm it again, or mount with a larger --cache-size"
            )
            self._fail(warmed, evicted)

    def _fail(self, warmed: Warmed, error: BacklotError) -> None:
        if warmed.error is None:
            warmed.error = error
            self._bar.say(f"backlotfs: {printable(str(warmed.file))}: {error}")

    def _ask(self, file: MountedFile, command: str, **arguments: Any) -> dict[str, Any]:
        """The mount's answer; repeats the question while the mount waits for an API credit."""
        while True:
            answer = ask(
                file.place, command, timeout_s=WARM_ANSWER_S, path=file.name_in_mount, **arguments
            )
            waiting_s = answer.get("waiting_s")
            if waiting_s is None:
                self._bar.note("")
                return answer
            self._bar.note(f"API credits: more in {about(waiting_s)}")
            self._ended.wait(min(waiting_s, CREDIT_PAUSE_S))
            if self._ended.is_set():
                raise Interrupted("stopped")


#: The words for complete and incomplete files in the result of each command.
_DONE = {"warm": "in the disk cache", "pin": "pinned"}
_NOT_DONE = {"warm": "in the disk cache", "pin": "completely in the disk cache"}


def report(files: Sequence[Warmed], command: str, as_json: bool, took_s: float) -> None:
    """Print the result. :raises CommandFailed: a file is incomplete; has the first error's code."""
    errors = [warmed.error for warmed in files if warmed.error is not None]
    fetched = sum(warmed.fetched for warmed in files)
    cached = sum(warmed.cached_bytes for warmed in files)
    if as_json:
        summary = {
            "files": [
                {
                    "path": str(warmed.file),
                    "size": warmed.size,
                    "cached_bytes_before": warmed.cached_bytes_before,
                    "cached_bytes": warmed.cached_bytes,
                    "fetched_bytes": warmed.fetched,
                    "pinned": warmed.pinned,
                    "error": None if warmed.error is None else str(warmed.error),
                }
                for warmed in files
            ],
            "cached_bytes": cached,
            "fetched_bytes": fetched,
            "failed": len(errors),
            "seconds": round(took_s, 3),
        }
        say_json(summary)
    else:
        say(
            f"{counted(len(files) - len(errors), 'file')}, {in_words(cached)}, {_DONE[command]}; "
            f"{in_words(fetched)} fetched"
        )
    if errors:
        raise CommandFailed(
            f"{len(errors)} of {counted(len(files), 'file')} not {_NOT_DONE[command]}; each "
            "is named above; run the same command again to continue",
            errors[0].exit_code,
        )
