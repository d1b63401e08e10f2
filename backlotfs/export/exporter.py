"""The exporter copies many files at once; it skips unchanged ones and names failed ones."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from backlotfs.errors import BacklotError
from backlotfs.export.destination import (
    Destination,
    UnsafeDestination,
    Workspace,
    is_reserved,
    reserved_reason,
)
from backlotfs.export.file_copy import compare_file, copy_file, discard_part
from backlotfs.export.items import Item, reason_of, same_name_reason
from backlotfs.export.manifest import ManifestWriter

#: Errors that may pass: the mount or its host was slow, or the source was replaced meanwhile.
_PASSING = frozenset({errno.ETIMEDOUT, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR})
ATTEMPTS = 3
#: Device and number; and that with the size in bytes and the time of change in ns.
_Inode: TypeAlias = tuple[int, int]
_State: TypeAlias = tuple[_Inode, int, int]
RETRY_PAUSE_S = 2.0


class State(StrEnum):
    """The result of one file.

    COPIED and VERIFIED: the bytes in DEST were read from the disk and are those of the source.
    UNCHANGED: DEST has a file of an earlier export with the size and time of the source; nothing
    was read.
    """

    COPIED = "copied"
    VERIFIED = "verified"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file of an export and its result.

    :ivar sha256: its digest, if this export computed it.
    :ivar reason: why it failed.
    """

    name: str
    state: State
    size_bytes: int
    sha256: str | None = None
    reason: str | None = None


def planned(
    items: Sequence[Item],
    destination: Destination | None,
    entries: Mapping[str, str],
    *,
    overwrite: bool,
) -> list[Outcome]:
    """Plan an export without doing it.

    :param destination: None: there is no such folder yet.
    :param entries: of its manifest.
    """
    plan = []
    for item in items:
        outcome, _ = settled(item, destination, item.name in entries, overwrite=overwrite)
        plan.append(outcome or Outcome(item.name, State.PLANNED, item.size_bytes))
    return plan


def settled(
    item: Item, destination: Destination | None, is_known: bool, *, overwrite: bool
) -> tuple[Outcome | None, os.stat_result | None]:
    """The outcome of an item that needs no copy, else None; and the file that has its name now.

    :param is_known: the manifest has a digest for it.
    """
    if is_reserved(item.name):
        return _failed(item, reserved_reason()), None
    try:
        found = destination.look_at_file(item.name) if destination else None
    except UnsafeDestination as error:
        return _failed(item, str(error)), None
    except OSError as error:
        return _failed(item, reason_of(error)), None
    if found is None:
        return None, None
    if not is_known and not overwrite:
        return _failed(item, "is there, but not from an export; --overwrite replaces it"), found
    same = (found.st_size, found.st_mtime_ns) == (item.size_bytes, item.mtime_ns)
    if is_known and same:
        return Outcome(item.name, State.UNCHANGED, item.size_bytes), found
    return None, found


class Exporter:
    """Copies items into a destination whose workspace was claimed."""

    def __init__(
        self,
        destination: Destination,
        workspace: Workspace,
        *,
        jobs: int,
        overwrite: bool,
        checksum: bool,
        moved: Callable[[int], None],
        finished: Callable[[Outcome], None],
    ) -> None:
        """Do nothing yet.

        :param jobs: files at a time.
        :param overwrite: replace files that no export made.
        :param checksum: compare what looks unchanged byte by byte, and copy it if it differs.
        :param moved: gets the count of bytes written, from any thread; less than 0 for what has
            to be written again.
        :param finished: gets each outcome as it is known, on the thread of `run`.
        """
        self._destination = destination
        self._workspace = workspace
        self._jobs = jobs
        self._overwrite = overwrite
        self._checksum = checksum
        self._moved = moved
        self._finished = finished
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._kept: dict[str, _State] = {}
        self._names: dict[_Inode, str] = {}

    def run(self, items: Sequence[Item]) -> list[Outcome]:
        """Export all items; their outcomes, in the same order.

        In the end each file is looked at again: it must still be there, with no link on the way.
        Ctrl-C ends the export; complete files are in the manifest, parts stay for the next export.

        :raises SettingsError: the manifest is damaged, or another program changed it.
        :raises OSError: the manifest cannot be written.
        """
        manifest = ManifestWriter(self._destination, self._workspace)
        try:
            return self._run(items, manifest)
        finally:
            manifest.close()

    def _run(self, items: Sequence[Item], manifest: ManifestWriter) -> list[Outcome]:
        with ThreadPoolExecutor(self._jobs, "export") as threads:
            futures = [threads.submit(self._export, item, manifest) for item in items]
            try:
                for future in as_completed(futures):
                    self._finished(future.result())
            except BaseException:
                self._stop.set()
                threads.shutdown(cancel_futures=True)
                raise
        return [self._looked_at_again(future.result(), manifest) for future in futures]

    def _looked_at_again(self, outcome: Outcome, manifest: ManifestWriter) -> Outcome:
        """The outcome, or a failure if the exported file is gone."""
        if outcome.name not in self._kept or self._is_there(outcome.name):
            return outcome
        manifest.forget(outcome.name)
        failed = Outcome(
            outcome.name,
            State.FAILED,
            outcome.size_bytes,
            reason="was replaced or moved away by another program after it was exported; "
            "end that program, then run this again",
        )
        self._finished(failed)
        return failed

    def _is_there(self, name: str) -> bool:
        try:
            found = self._destination.look_at_file(name)
        except (UnsafeDestination, OSError):
            return False
        if found is None:
            return False
        kept, state = self._kept[name], _state_of(found)
        # exFAT gives a file another inode number when it has not been used for a while
        return state == kept if self._workspace.has_links else state[1:] == kept[1:]

    def _keep(self, name: str, status: os.stat_result) -> None:
        """Record a finished file, so that no other item of this export replaces it."""
        with self._lock:
            self._kept[name] = state = _state_of(status)
            self._names[state[0]] = name

    def _check_alias(self, name: str, found: os.stat_result) -> None:
        """:raises UnsafeDestination: the disk takes another item's name for this one."""
        with self._lock:
            first = self._names.get(_state_of(found)[0], name)
        # a file with two names is not lost when one of them is replaced: it was linked to save room
        if first != name and found.st_nlink == 1:
            raise UnsafeDestination(same_name_reason(first))

    def _export(self, item: Item, manifest: ManifestWriter) -> Outcome:
        outcome, found = settled(
            item, self._destination, item.name in manifest.entries, overwrite=self._overwrite
        )
        if outcome is None:
            return self._with_retries(item, manifest, found, compare=False)
        if outcome.state is State.UNCHANGED and found is not None:
            discard_part(self._workspace, item.name)
            if self._checksum:
                return self._with_retries(item, manifest, found, compare=True)
            self._keep(item.name, found)
        self._moved(item.size_bytes)
        return outcome

    def _with_retries(
        self, item: Item, manifest: ManifestWriter, found: os.stat_result | None, *, compare: bool
    ) -> Outcome:
        """Copy or compare an item; try again after a temporary error.

        :param found: the file that has the item's name in DEST now.
        """
        for attempt in range(1, ATTEMPTS + 1):
            progress = _Progress(self._moved)
            try:
                if compare:
                    same = compare_file(item, self._destination, progress.add, self._stop)
                    if same is not None:
                        digest, status = same
                        manifest.record(item.name, digest, status)
                        self._keep(item.name, status)
                        return Outcome(item.name, State.VERIFIED, item.size_bytes, digest)
                    compare = False
                    progress.take_back()
                if found is not None:
                    self._check_alias(item.name, found)
                sealed, digest = copy_file(
                    item,
                    self._destination,
                    self._workspace,
                    manifest,
                    expected=found,
                    moved=progress.add,
                    stop=self._stop,
                )
                self._keep(item.name, sealed)
                return Outcome(item.name, State.COPIED, sealed.st_size, digest)
            except OSError as error:
                progress.take_back()
                reason = reason_of(error)
                if error.errno not in _PASSING:
                    break
            except BacklotError as error:
                progress.take_back()
                reason = str(error)
                break
            if attempt < ATTEMPTS and self._stop.wait(RETRY_PAUSE_S):
                break
        return _failed(item, reason)


class _Progress:
    """Counts the bytes of one attempt, which are taken back when the attempt fails."""

    def __init__(self, moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._count_bytes = 0

    def add(self, count_bytes: int) -> None:
        self._count_bytes += count_bytes
        self._moved(count_bytes)

    def take_back(self) -> None:
        self._moved(-self._count_bytes)
        self._count_bytes = 0


def _state_of(status: os.stat_result) -> _State:
    return (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns


def _failed(item: Item, reason: str) -> Outcome:
    return Outcome(item.name, State.FAILED, item.size_bytes, reason=reason)
