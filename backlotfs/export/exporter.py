# SPDX-License-Identifier: Apache-2.0
"""The exporter copies many files at once, skips unchanged files, and reports failed ones."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from backlotfs.errors import BacklotError
from backlotfs.export.destination import (
    Destination,
    UnsafeDestination,
    Workspace,
    is_reserved,
    reserved_reason,
    same_file,
)
from backlotfs.export.file_copy import DirectSource, compare_file, copy_file, discard_part
from backlotfs.export.items import Item, reason_of, same_name_reason
from backlotfs.export.manifest import ManifestWriter, Records
from backlotfs.export.room import Room
from backlotfs.export.times import Comparison
from backlotfs.namespace.naming import portable

#: Errors after which another attempt may succeed: the mount or its host was slow, or the source
#: was replaced.
_PASSING = frozenset({errno.ETIMEDOUT, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR})
#: The errors of disks that cannot store a name: exFAT, NTFS and SMB refuse some characters.
_NAME_REFUSED = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENOENT})
ATTEMPTS = 3
#: Device number and inode number.
_Inode: TypeAlias = tuple[int, int]
RETRY_PAUSE_S = 2.0
#: Limits for the bytes that are being read, in flight or in memory: of all files, and of one file.
ROOM_BYTES, MOST_OF_ONE_BYTES = 256 * 1024 * 1024, 128 * 1024 * 1024
#: Opens a source to be read without its path; None: the source can only be read by its path.
OpenDirect = Callable[[Item], DirectSource | None]


class SameName(BacklotError):
    """Two items have one name on the disk of the destination."""


class State(StrEnum):
    """The result of one file.

    COPIED and VERIFIED: the bytes in DEST were read from the disk and equal those of the source.
    UNCHANGED: DEST has a file of an earlier export with the size and time of the source (as exactly
    as its disk keeps times); nothing was read.
    """

    COPIED = "copied"
    VERIFIED = "verified"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file of an export and its result.

    :ivar sha256: the digest of the file, if this export computed it.
    :ivar reason: why the export of the file failed.
    :ivar can_pass: whether a failed file may succeed if the same export is run again.
    """

    name: str
    state: State
    size_bytes: int
    sha256: str | None = None
    reason: str | None = None
    can_pass: bool = False


def planned(
    items: Sequence[Item],
    destination: Destination | None,
    records: Records,
    *,
    overwrite: bool,
) -> list[Outcome]:
    """Plan an export without doing it.

    :param destination: None: the folder does not exist yet.
    :param records: the records of earlier exports into it.
    """
    return [
        settled(item, destination, records, overwrite=overwrite).outcome
        or Outcome(item.name, State.PLANNED, item.size_bytes)
        for item in items
    ]


class Settled(NamedTuple):
    """The facts about an item before anything is read.

    :ivar outcome: the result; None: the item has to be copied.
    :ivar found: the file that has the item's name now.
    :ivar is_certain: False: an outcome of UNCHANGED has to be checked by reading both files.
    """

    outcome: Outcome | None
    found: os.stat_result | None = None
    is_certain: bool = True

    def reads_source(self, *, checksum: bool) -> bool:
        """Whether the export will read the source, to copy it or to compare."""
        if self.outcome is None:
            return True
        unchanged = self.outcome.state is State.UNCHANGED
        return unchanged and (checksum or not self.is_certain)


def settled(
    item: Item, destination: Destination | None, records: Records, *, overwrite: bool
) -> Settled:
    """Decide whether an item has to be copied.

    :param records: of earlier exports into this destination.
    """
    if is_reserved(item.name):
        return Settled(_failed(item, reserved_reason()))
    if destination is None:
        return Settled(None)
    try:
        found = destination.look_at_file(item.name)
    except UnsafeDestination as error:
        return Settled(_failed(item, str(error)))
    except OSError as error:
        refused = _refused_name(item, error)
        return Settled(_failed(item, refused or reason_of(error), can_pass=refused is None))
    if found is None:
        return Settled(None)
    is_known = item.name in records.digests
    if not is_known and not overwrite:
        reason = "is there, but not from an export; --overwrite replaces it"
        return Settled(_failed(item, reason), found)
    if not is_known or found.st_size != item.size_bytes:
        return Settled(None, found)
    written = records.times.get(item.name)
    comparison = destination.times.compare(found.st_mtime_ns, item.mtime_ns, written)
    if comparison is Comparison.CHANGED:
        return Settled(None, found)
    unchanged = Outcome(item.name, State.UNCHANGED, item.size_bytes)
    return Settled(unchanged, found, is_certain=comparison is Comparison.UNCHANGED)


class Exporter:
    """Copies items into a destination. Its workspace must be claimed before."""

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
        direct: OpenDirect = lambda _item: None,
        stop: threading.Event | None = None,
    ) -> None:
        """Do nothing yet.

        :param jobs: the limit for files at a time. Fewer large files are read at a time.
        :param overwrite: replace files that no export made.
        :param checksum: compare files that seem unchanged byte by byte; copy those that differ.
        :param moved: called with the number of bytes written or compared, from any thread; the
            number is negative for bytes that have to be written again.
        :param finished: called with each outcome as soon as it is known, on the thread of `run`.
        :param direct: opens a source to be read without its path. It is used for the first attempt
            at a file.
        :param stop: set when Ctrl-C ends the export, so that ``direct`` stops waiting; None:
            ``direct`` is not told.
        """
        self._destination = destination
        self._workspace = workspace
        self._jobs = jobs
        self._overwrite = overwrite
        self._checksum = checksum
        self._moved = moved
        self._finished = finished
        self._direct = direct
        self._room = Room(ROOM_BYTES, MOST_OF_ONE_BYTES)
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._kept: dict[str, os.stat_result] = {}
        self._names: dict[_Inode, str] = {}

    def run(self, items: Sequence[Item]) -> list[Outcome]:
        """Export all items; return their outcomes, in the same order.

        At the end each file is looked up again: it must still be there, without a link in its path.
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
        """Return the outcome, or a failure if the exported file is no longer there."""
        if outcome.name not in self._kept or self._is_there(outcome.name):
            return outcome
        manifest.forget(outcome.name)
        failed = Outcome(
            outcome.name,
            State.FAILED,
            outcome.size_bytes,
            reason="was replaced or moved away by another program after it was exported; "
            "end that program, then run this again",
            can_pass=True,
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
        kept = self._kept[name]
        # exFAT gives a file another inode number when the file was not used for a while.
        is_same = same_file(found, kept) or not self._workspace.has_links
        return is_same and self._destination.same_state(found, kept)

    def _keep(self, name: str, status: os.stat_result) -> None:
        """Record a finished file, so that no other item of this export replaces it."""
        with self._lock:
            self._kept[name] = status
            self._names[_inode_of(status)] = name

    def _check_alias(self, name: str, found: os.stat_result) -> None:
        """Check that no other item has this name on the disk. :raises SameName: one has it."""
        with self._lock:
            first = self._names.get(_inode_of(found), name)
        # A file with two hard links was linked to save space: replacing one name keeps the other.
        if first != name and found.st_nlink == 1:
            raise SameName(same_name_reason(first))

    def _export(self, item: Item, manifest: ManifestWriter) -> Outcome:
        outcome, found, is_certain = settled(
            item, self._destination, manifest.records, overwrite=self._overwrite
        )
        if outcome is None:
            return self._with_retries(item, manifest, found, compare=False)
        if outcome.state is State.UNCHANGED and found is not None:
            discard_part(self._workspace, item.name)
            if self._checksum or not is_certain:
                return self._with_retries(item, manifest, found, compare=True)
            self._keep(item.name, found)
        return outcome

    def _with_retries(
        self, item: Item, manifest: ManifestWriter, found: os.stat_result | None, *, compare: bool
    ) -> Outcome:
        """Copy or compare an item; try again after a temporary error.

        :param found: the file that has the item's name in DEST now.
        """
        can_pass = True
        for attempt in range(1, ATTEMPTS + 1):
            direct = None
            progress = _Progress(self._moved, self._stop)
            try:
                if compare:
                    same = compare_file(item, self._destination, progress.add, self._stop)
                    if same is not None:
                        manifest.record(item.name, *same)
                        self._keep(item.name, same.status)
                        return Outcome(item.name, State.VERIFIED, item.size_bytes, same.digest)
                    compare = False
                    progress.take_back()
                if found is not None:
                    self._check_alias(item.name, found)
                direct = self._direct(item) if attempt == 1 else None
                sealed, digest = copy_file(
                    item,
                    self._destination,
                    self._workspace,
                    manifest,
                    expected=found,
                    moved=progress.add,
                    stop=self._stop,
                    direct=direct,
                    room=self._room,
                )
                self._keep(item.name, sealed)
                return Outcome(item.name, State.COPIED, sealed.st_size, digest)
            except OSError as error:
                progress.take_back()
                refused = _refused_name(item, error)
                reason, can_pass = refused or reason_of(error), refused is None
                if direct is not None and error.errno == errno.EAGAIN:
                    continue  # the bytes that arrived are kept; the path is used for the others
                if error.errno not in _PASSING:
                    break
            except BacklotError as error:
                progress.take_back()
                reason, can_pass = str(error), not isinstance(error, SameName)
                break
            if attempt < ATTEMPTS and self._stop.wait(RETRY_PAUSE_S):
                break
        return _failed(item, reason, can_pass=can_pass)


class _Progress:
    """Counts the bytes of one attempt, and takes them back when the attempt fails.

    They are not taken back if the export was stopped, because its parts stay for the next export.
    """

    def __init__(self, moved: Callable[[int], None], stop: threading.Event) -> None:
        self._moved = moved
        self._stop = stop
        self._count_bytes = 0

    def add(self, count_bytes: int) -> None:
        self._count_bytes += count_bytes
        self._moved(count_bytes)

    def take_back(self) -> None:
        if not self._stop.is_set():
            self._moved(-self._count_bytes)
        self._count_bytes = 0


def _inode_of(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino


def _refused_name(item: Item, error: OSError) -> str | None:
    """Why the disk does not accept the name of an item; None: the error has another cause."""
    if error.errno not in _NAME_REFUSED or all(
        part == portable(part) for part in item.name.split("/")
    ):
        return None
    if not os.path.lexists(item.source):
        return None
    return (
        "the disk of the destination cannot hold this name; mount with --names portable, or "
        "export to another disk"
    )


def _failed(item: Item, reason: str, *, can_pass: bool = False) -> Outcome:
    return Outcome(item.name, State.FAILED, item.size_bytes, reason=reason, can_pass=can_pass)
