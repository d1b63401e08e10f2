"""Many files at once: what is there already stays, what fails is said, the others go on."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from backlotfs.errors import BacklotError, SettingsError
from backlotfs.export.file_copy import copy_file
from backlotfs.export.items import Item, reason_of
from backlotfs.export.manifest import JOURNAL, MANIFEST, ManifestWriter, read_manifest

#: What may pass: the mount or its host was slow, or the source was replaced under us.
_PASSING = frozenset({errno.ETIMEDOUT, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR})
ATTEMPTS = 3
RETRY_PAUSE_S = 2.0


class State(StrEnum):
    """How it went with one file."""

    COPIED = "copied"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file of an export.

    :ivar sha256: its digest, where it is in the copy.
    :ivar reason: why it failed.
    """

    name: str
    state: State
    size_bytes: int
    sha256: str | None = None
    reason: str | None = None


def planned(items: Sequence[Item], destination: Path, *, overwrite: bool) -> list[Outcome]:
    """What an export would do, without doing it.

    :raises SettingsError: the destination's manifest is none.
    """
    entries = read_manifest(destination)
    return [
        settled(item, destination, entries.get(item.name), overwrite=overwrite)
        or Outcome(item.name, State.PLANNED, item.size_bytes)
        for item in items
    ]


def settled(
    item: Item, destination: Path, digest: str | None, *, overwrite: bool
) -> Outcome | None:
    """How it is with an item that needs, or gets, no copying; None: it has to be copied.

    :param digest: what the manifest has for it.
    """
    if item.name in (MANIFEST, JOURNAL):
        return _failed(item, "has the name of the manifest; export it into another folder")
    try:
        status = os.stat(destination / item.name, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _failed(item, reason_of(error))
    if digest is None and not overwrite:
        return _failed(item, "is there, but not from an export; --overwrite replaces it")
    same = (status.st_size, status.st_mtime_ns) == (item.size_bytes, item.mtime_ns)
    if digest is not None and same:
        return Outcome(item.name, State.UNCHANGED, item.size_bytes, digest)
    return None


@contextmanager
def claimed(destination: Path) -> Iterator[None]:
    """Make the folder, and have it alone for the time of an export.

    :raises SettingsError: another export has it. :raises OSError: it cannot be made.
    """
    destination.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another export writes to {destination}; wait for it, or choose another folder"
            ) from None
        yield
    finally:
        os.close(descriptor)


class Exporter:
    """Copies items into a destination that was `claimed`."""

    def __init__(
        self,
        destination: Path,
        *,
        jobs: int,
        overwrite: bool,
        moved: Callable[[int], None],
        finished: Callable[[Outcome], None],
    ) -> None:
        """Do nothing yet.

        :param jobs: files at a time.
        :param moved: told of bytes written, from any thread; less than 0 for what is lost again.
        :param finished: told of each file as it is done, on the thread of `run`.
        """
        self._destination = destination
        self._jobs = jobs
        self._overwrite = overwrite
        self._moved = moved
        self._finished = finished
        self._stop = threading.Event()

    def run(self, items: Sequence[Item]) -> list[Outcome]:
        """Export all; how each went, in the order of ``items``.

        Ctrl-C ends it, with what is complete in the manifest and the rest kept to go on from.

        :raises SettingsError, OSError: there is no manifest to be had, or none to be written.
        """
        manifest = ManifestWriter(self._destination)
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
        return [future.result() for future in futures]

    def _export(self, item: Item, manifest: ManifestWriter) -> Outcome:
        known = manifest.entries.get(item.name)
        found = settled(item, self._destination, known, overwrite=self._overwrite)
        if found is not None:
            self._moved(item.size_bytes)
            return found
        for attempt in range(1, ATTEMPTS + 1):
            moved = 0

            def count(count_bytes: int) -> None:
                nonlocal moved
                moved += count_bytes
                self._moved(count_bytes)

            try:
                size_bytes, digest = copy_file(
                    item,
                    self._destination / item.name,
                    record=lambda digest: manifest.record(item.name, digest),
                    moved=count,
                    stop=self._stop,
                )
                return Outcome(item.name, State.COPIED, size_bytes, digest)
            except OSError as error:
                self._moved(-moved)
                reason = reason_of(error)
                if error.errno not in _PASSING:
                    break
            except BacklotError as error:
                self._moved(-moved)
                reason = str(error)
                break
            if attempt < ATTEMPTS and self._stop.wait(RETRY_PAUSE_S):
                break
        return _failed(item, reason)


def _failed(item: Item, reason: str) -> Outcome:
    return Outcome(item.name, State.FAILED, item.size_bytes, reason=reason)
