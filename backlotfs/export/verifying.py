"""Whether a copy still is what was exported, and as large as its sources."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from backlotfs.errors import Interrupted
from backlotfs.export.items import Problem, reason_of
from backlotfs.export.manifest import JOURNAL, MANIFEST
from backlotfs.export.part import PART_PREFIX, digest_of_file


def check_file(
    destination: Path,
    name: str,
    digest: str,
    source_bytes: int | None,
    moved: Callable[[int], None],
) -> Problem | None:
    """What is wrong with one file of the manifest; None: nothing.

    :param source_bytes: the size of its source, when that is known.
    :param moved: told of bytes as they are read; what it raises is raised.
    """
    path = destination / name
    try:
        status = os.stat(path, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return Problem(name, "is not a file")
        if source_bytes is not None and status.st_size != source_bytes:
            return Problem(
                name, f"has {status.st_size} bytes, its source {source_bytes}; export it again"
            )
        found = digest_of_file(path, status.st_size, moved)
    except FileNotFoundError:
        return Problem(name, "is missing; export it again")
    except OSError as error:
        return Problem(name, reason_of(error))
    if found != digest:
        return Problem(name, "does not have the bytes of the manifest; export it again")
    return None


def check_files(
    destination: Path,
    entries: Mapping[str, str],
    sizes: Mapping[str, int],
    *,
    jobs: int,
    moved: Callable[[int], None],
) -> Iterator[tuple[str, Problem | None]]:
    """Check every file of the manifest, and that no source is without a copy, as they are done.

    :param entries: name to digest.
    :param sizes: name to size of the sources; empty: they are not asked about.
    """
    stop = threading.Event()

    def count(count_bytes: int) -> None:
        if stop.is_set():  # else Ctrl-C would wait for files of a hundred gigabytes
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


def strangers(destination: Path, entries: Mapping[str, str]) -> tuple[list[str], int]:
    """Files in a copy that its manifest does not know, and how many parts await their export."""
    unknown, parts = [], 0
    for folder, _, names in os.walk(destination):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), destination)
            if name.startswith(PART_PREFIX):
                parts += name.endswith(".part")
            elif path not in entries and path not in (MANIFEST, JOURNAL):
                unknown.append(path)
    return sorted(unknown), parts
