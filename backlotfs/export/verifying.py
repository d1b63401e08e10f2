"""Verifies that a copy has the bytes of its manifest and the sizes of its sources."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

from backlotfs.errors import Interrupted, SettingsError
from backlotfs.export.destination import (
    MANIFEST,
    TIMES,
    WORKSPACE,
    Destination,
    UnsafeDestination,
    is_reserved,
    reserved_reason,
)
from backlotfs.export.file_copy import PART, digest_in
from backlotfs.export.items import Problem, reason_of
from backlotfs.export.manifest import Records, read_records


def read_all_records(destination: Destination) -> tuple[Records, int | None]:
    """Read the records of a copy, those of an unfinished export included.

    :returns: the records, and the number of unfinished files; None instead of the number if
        another user's export left them, or something else has the name of the workspace.
    :raises SettingsError: the manifest is damaged, or cannot be read.
    """
    try:
        workspace = destination.leftover()
    except SettingsError:
        return read_records(destination, None), None
    if workspace is None:
        return read_records(destination, None), 0
    with contextlib.closing(workspace):
        records = read_records(destination, workspace)
        return records, sum(name.endswith(PART) for name in workspace.names())


def check_file(
    destination: Destination,
    name: str,
    digest: str,
    source_bytes: int | None,
    moved: Callable[[int], None],
) -> Problem | None:
    """Check one file of the manifest; None if it is right.

    :param source_bytes: the size of its source, when that is known.
    :param moved: gets the count of bytes as they are read; what it raises is raised.
    """
    if is_reserved(name):
        return Problem(name, reserved_reason())
    try:
        found = destination.look_at_file(name)
        if found is None:
            return Problem(name, "is missing; export it again")
        if source_bytes is not None and found.st_size != source_bytes:
            return Problem(
                name, f"has {found.st_size} bytes, its source {source_bytes}; export it again"
            )
        digest_found, _ = digest_in(destination, name, moved)
    except FileNotFoundError:
        return Problem(name, "is missing; export it again")
    except UnsafeDestination as error:
        return Problem(name, str(error))
    except OSError as error:
        return Problem(name, reason_of(error))
    if digest_found != digest:
        return Problem(
            name, "does not have the bytes of the manifest; export it again with --checksum"
        )
    return None


def check_files(
    destination: Destination,
    entries: Mapping[str, str],
    sizes: Mapping[str, int],
    *,
    jobs: int,
    moved: Callable[[int], None],
) -> Iterator[tuple[str, Problem | None]]:
    """Check every file of the manifest, and that every source has a copy.

    :param entries: name to digest.
    :param sizes: name to size of the sources; empty: they are not asked about.
    """
    stop = threading.Event()

    def count(count_bytes: int) -> None:
        if stop.is_set():  # or Ctrl-C would wait for files of a hundred gigabytes
            raise Interrupted("stopped")
        moved(count_bytes)

    with ThreadPoolExecutor(jobs, "verify") as threads:
        futures = {
            threads.submit(check_file, destination, name, digest, sizes.get(name), count): name
            for name, digest in entries.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    for name in sorted(sizes.keys() - entries.keys()):
        yield name, Problem(name, "was never exported; export it")


def strangers(destination: Destination, entries: Mapping[str, str]) -> list[str]:
    """The files and links in a copy that its manifest does not name."""
    return sorted(
        name
        for name in destination.files()
        if name not in entries and name not in (MANIFEST, TIMES, WORKSPACE)
    )
