# SPDX-License-Identifier: Apache-2.0
"""Verifies that a copy has the digests of its manifest and the sizes of its sources."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

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
from backlotfs.export.items import Problem, folded, reason_of
from backlotfs.export.manifest import JOURNAL, Records, read_records
from backlotfs.log.terminal import counted, printable

#: The reasons for files that are missing in the copy.
MISSING = "is missing; export it again"
NEVER_EXPORTED = "was never exported; export it"


class Leftover(NamedTuple):
    """The state that a stopped export has left.

    :ivar parts: the number of files that are partly exported.
    :ivar was_killed: whether its journal is left; then files that it had not begun may be missing.
    """

    parts: int
    was_killed: bool


def read_all_records(destination: Destination) -> tuple[Records, Leftover | None]:
    """Read the records of a copy, those of an unfinished export included.

    :returns: the records, and the state that an export has left. The second is None if another
        user's export left it, or if something else has the name of the workspace.
    :raises SettingsError: the manifest is malformed or cannot be read.
    """
    try:
        workspace = destination.leftover()
    except SettingsError:
        return read_records(destination, None), None
    if workspace is None:
        return read_records(destination, None), Leftover(0, was_killed=False)
    with contextlib.closing(workspace):
        records = read_records(destination, workspace)
        names = workspace.names()
        return records, Leftover(sum(name.endswith(PART) for name in names), JOURNAL in names)


def check_file(
    destination: Destination,
    name: str,
    digest: str,
    source_bytes: int | None,
    moved: Callable[[int], None],
) -> Problem | None:
    """Check one file of the manifest; return None if it is right.

    :param source_bytes: the size of its source; None: it is not known.
    :param moved: called with the number of bytes that were read; its exceptions are raised.
    """
    if is_reserved(name):
        return Problem(name, reserved_reason())
    try:
        found = destination.look_at_file(name)
        if found is None:
            return Problem(name, MISSING)
        if source_bytes is not None and found.st_size != source_bytes:
            return Problem(
                name,
                f"has {counted(found.st_size, 'byte')}, its source {source_bytes}; export it again",
            )
        digest_found, _ = digest_in(destination, name, moved)
    except FileNotFoundError:
        return Problem(name, MISSING)
    except UnsafeDestination as error:
        return Problem(name, str(error))
    except OSError as error:
        return Problem(name, reason_of(error))
    if digest_found != digest:
        return Problem(
            name, "does not have the bytes of the manifest; export it again with --checksum"
        )
    return None


#: Checks one file. The arguments are its name, its digest, the size of its source or None, and a
#: function that is called with the number of bytes that were read.
Check = Callable[[str, str, int | None, Callable[[int], None]], Problem | None]


def check_files(
    check: Check,
    entries: Mapping[str, str],
    sizes: Mapping[str, int],
    *,
    jobs: int,
    moved: Callable[[int], None],
) -> Iterator[tuple[str, Problem | None]]:
    """Check every file of the manifest, and that every source has a copy.

    :param check: checks one file, on any thread: `check_file` with a folder.
    :param entries: the digest of each name.
    :param sizes: the size of the source of each name; empty: the sources are not checked.
    """
    stop = threading.Event()

    def count(count_bytes: int) -> None:
        if stop.is_set():  # so that Ctrl-C does not wait until a large file was read
            raise Interrupted("stopped")
        moved(count_bytes)

    with ThreadPoolExecutor(jobs, "verify") as threads:
        futures = {
            threads.submit(check, name, digest, sizes.get(name), count): name
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
        yield name, Problem(name, NEVER_EXPORTED)


def check_in(destination: Destination, entries: Collection[str]) -> Check:
    """Return a `check_file` for a folder on a disk that may not distinguish all names."""
    aliases = _one_file_names(destination, entries)

    def check(
        name: str, digest: str, source_bytes: int | None, moved: Callable[[int], None]
    ) -> Problem | None:
        if name not in aliases:
            return check_file(destination, name, digest, source_bytes, moved)
        return Problem(
            name,
            f"has no file of its own: this disk takes its name for {printable(aliases[name])}; "
            "mount with --names portable, then export into an empty folder",
        )

    return check


def _one_file_names(destination: Destination, entries: Collection[str]) -> dict[str, str]:
    """Find names of a manifest that this disk does not distinguish from another one of them.

    This happens if the disk ignores case and the copy comes from a disk that does not: both names
    then refer to the one file that is left.

    :returns: for each name without a file of its own, the name of the file that it refers to.
    """
    spellings: dict[str, list[str]] = {}
    for name in entries:
        spellings.setdefault(folded(name), []).append(name)
    doubtful = [names for names in spellings.values() if len(names) > 1]
    if not doubtful:
        return {}
    listed = set(destination.files())
    found: dict[str, str] = {}
    for names in doubtful:
        first, *others = sorted(names, key=lambda name: (name not in listed, name))
        found |= {name: first for name in others if _is_there(destination, name, listed)}
    return found


def _is_there(destination: Destination, name: str, listed: Collection[str]) -> bool:
    """Whether this name refers to a file that the disk lists by another spelling."""
    if name in listed:
        return False
    try:
        return destination.look(name) is not None
    except (UnsafeDestination, OSError):
        return False


def strangers(destination: Destination, entries: Collection[str]) -> list[str]:
    """The files and links of a copy that its manifest does not name, in any case of letters."""
    listed = set(destination.files())
    unknown = sorted(listed - {*entries, MANIFEST, TIMES, WORKSPACE})
    unlisted = {folded(name): name for name in entries if name not in listed} if unknown else {}
    return [
        name
        for name in unknown
        if folded(name) not in unlisted
        or not _is_there(destination, unlisted[folded(name)], listed)
    ]
