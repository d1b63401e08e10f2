"""Warms files of running mounts, in pieces, several at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from backlotfs.cli.mounted_files import MountedFile
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.log.terminal import in_words
from backlotfs.mount.control.client import ask
from backlotfs.namespace.incomplete_notice import about

#: What one job takes at a time.
PIECE_BYTES = 64 * 1024 * 1024
#: What is asked of a mount in one step: less where a step takes longer, more where it is quick.
LEAST_STEP_BYTES, FIRST_STEP_BYTES, MOST_STEP_BYTES = 64 * 1024, 1024 * 1024, 8 * 1024 * 1024
QUICK_S, LONG_S = 1.0, 5.0
#: Longer than a mount takes to answer a step, with bytes or with an error.
ANSWER_S = 75.0
#: A mount that waits for an API credit is asked again this late at the latest.
CREDIT_LOOK_S = 2.0


@dataclass(slots=True)
class Warmed:
    """One file, and what became of it.

    :ivar size: in bytes. :ivar before: of them held by the disk tier when we came.
    :ivar held: of them held in the end. :ivar fetched: bytes that came over the line for it.
    :ivar takes: the bytes of its blocks, which are whole. :ivar pinned: it has its place already.
    :ivar room: bytes that the disk tier has for what is not pinned.
    :ivar error: why it is not held whole, with the exit code that says so.
    """

    file: MountedFile
    embed_code: str = ""
    version: str = ""
    size: int = 0
    before: int = 0
    held: int = 0
    fetched: int = 0
    takes: int = 0
    pinned: bool = False
    room: int = 0
    error: BacklotError | None = None


def check_room(files: Sequence[Warmed]) -> None:
    """:raises BacklotError: they do not fit into the disk tier of their mount."""
    by_place: dict[Path, list[Warmed]] = {}
    for warmed in files:
        if warmed.error is None and not warmed.pinned:
            by_place.setdefault(warmed.file.place, []).append(warmed)
    for place, mine in by_place.items():
        room = min(warmed.room for warmed in mine)
        if sum(warmed.takes for warmed in mine) > room:
            raise BacklotError(
                f"{in_words(sum(warmed.size for warmed in mine))} are to be warmed, the disk tier "
                f"of {place} has room for {in_words(max(0, room))}: name fewer files, or mount "
                "with a larger --cache-size"
            )


class _Piece(NamedTuple):
    warmed: Warmed
    start: int
    stop: int


class WarmRun:
    """One call of ``warm``."""

    def __init__(
        self,
        jobs: int,
        *,
        moved: Callable[[int], None],
        failed: Callable[[Warmed], None],
        waits: Callable[[str], None] = lambda _for: None,
    ) -> None:
        """Nothing is asked yet.

        :param moved: told that so many bytes more are warm. :param failed: told of each file that
            failed, once. :param waits: told what a step waits for, empty when it goes on. All from
            any thread.
        """
        self._waits = waits
        self._jobs = jobs
        self._moved = moved
        self._failed = failed
        self._ended = Event()

    def look(self, files: Iterable[MountedFile]) -> list[Warmed]:
        """How large each source is, and how much of it is held; each source of a mount once.

        What a mount makes itself (``--sidecars``, ``--captions``) has no source, and is left out.
        """
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                looked = list(pool.map(self._look, files))
            except BaseException:
                self._ended.set()  # after a Ctrl-C nobody goes on waiting
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        found: dict[object, Warmed] = {}
        for warmed in looked:
            if warmed is None:
                continue
            source = (warmed.file.place, warmed.embed_code) if warmed.embed_code else warmed.file
            found.setdefault(source, warmed)
        return list(found.values())

    def warm(self, files: Sequence[Warmed]) -> None:
        """Warm what is not held; then look what is, since others may have pushed it out again."""
        sound = [warmed for warmed in files if warmed.error is None]
        pieces = [
            _Piece(warmed, start, min(start + PIECE_BYTES, warmed.size))
            for warmed in sound
            if warmed.held < warmed.size
            for start in range(0, warmed.size, PIECE_BYTES)
        ]
        pool = ThreadPoolExecutor(self._jobs)
        try:
            list(pool.map(self._warm, pieces))
        finally:
            self._ended.set()  # after a Ctrl-C no further step is begun
            pool.shutdown(cancel_futures=True)
        for place in {warmed.file.place for warmed in sound}:
            mine = [warmed for warmed in sound if warmed.file.place == place]
            for number, warmed in enumerate(mine):
                self._check(warmed, settle=not number)

    def _look(self, file: MountedFile) -> Warmed | None:
        warmed = Warmed(file)
        try:
            answer = self._ask(file, "held")
        except BacklotError as error:
            self._fail(warmed, error)
            return warmed
        if answer.get("made"):
            return None
        warmed.embed_code, warmed.version = answer["id"], answer["version"]
        warmed.size, warmed.before = answer["size"], answer["held"]
        warmed.held, warmed.pinned = warmed.before, answer["pinned"]
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
            self._moved(reached - offset)
            warmed.fetched += answer["fetched_bytes"]
            offset = reached
            took_s = time.monotonic() - began_s
            if took_s > LONG_S:
                length = max(LEAST_STEP_BYTES, length // 2)
            elif took_s < QUICK_S:
                length = min(MOST_STEP_BYTES, length * 2)

    def _check(self, warmed: Warmed, *, settle: bool) -> None:
        try:
            warmed.held = self._ask(warmed.file, "held", settle=settle)["held"]
        except BacklotError as error:
            self._fail(warmed, error)
            return
        if warmed.held < warmed.size:
            lost = BacklotError(
                f"{in_words(warmed.size - warmed.held)} of it were let go for other blocks: "
                "warm it again, or mount with a larger --cache-size"
            )
            self._fail(warmed, lost)

    def _fail(self, warmed: Warmed, error: BacklotError) -> None:
        if warmed.error is None:
            warmed.error = error
            self._failed(warmed)

    def _ask(self, file: MountedFile, command: str, **arguments: Any) -> dict[str, Any]:
        """The mount's answer; asks again while it waits for an API credit."""
        while True:
            answer = ask(file.place, command, timeout_s=ANSWER_S, path=file.inner, **arguments)
            waiting_s = answer.get("waiting_s")
            if waiting_s is None:
                self._waits("")
                return answer
            self._waits(f"API credits: more in {about(waiting_s)}")
            self._ended.wait(min(waiting_s, CREDIT_LOOK_S))
            if self._ended.is_set():
                raise Interrupted("stopped")
