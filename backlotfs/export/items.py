# SPDX-License-Identifier: Apache-2.0
"""Lists the items of an export: every file below the sources, and its name in the copy."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from backlotfs.errors import SettingsError
from backlotfs.log.terminal import printable

#: If a size is not known, it is requested this many times, with this pause. The mount itself waits
#: for API credits, but not with --stat-timeout or --unsized fail, and not for an API that is down.
SIZE_PAUSE_S = 5.0
SIZE_ATTEMPTS = 180


@dataclass(frozen=True, slots=True)
class Item:
    """One file to export.

    :ivar source: the path to read.
    :ivar name: its place below the destination, with ``/``.
    """

    source: str
    name: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that cannot be read, or is not as it should be, and why."""

    name: str
    reason: str


def find_items(
    sources: Sequence[str], pause: Callable[[float], object]
) -> tuple[list[Item], list[Problem]]:
    """Find all files of ``sources``, sorted by name, and the paths that cannot be read.

    A source keeps its own name, as with ``cp -r``. Of a folder that is written with a slash at its
    end, only the contents are taken, as with rsync.

    :param pause: waits for so many seconds, if the mount does not know a size yet.
    :raises SettingsError: two sources would get the same name.
    """
    places: dict[str, str] = {}
    problems: list[Problem] = []
    for source in sources:
        for path, name in _files(source, problems):
            if places.setdefault(name, path) != path:
                raise SettingsError(
                    f"{places[name]} and {path} would both become {printable(name)}; "
                    "export them into folders of their own"
                )
    items = []
    for name, path in sorted(places.items()):
        try:
            status = _patient_stat(path, pause)
        except OSError as error:
            problems.append(Problem(name, reason_of(error)))
            continue
        if stat.S_ISREG(status.st_mode):
            items.append(Item(path, name, status.st_size, status.st_mtime_ns))
        else:
            problems.append(Problem(name, "is neither a file nor a folder; name other sources"))
    return items, problems


def kept_apart(
    items: Iterable[Item], exported: Collection[str], is_there: Callable[[str], bool]
) -> tuple[list[Item], list[Problem]]:
    """Leave out items that would replace another where ``A.mov`` and ``a.mov`` are the same name.

    On exFAT, SMB and Mac disks they are. Some of these also ignore dots and spaces at the end.

    :param exported: the names of earlier exports into the same folder.
    :param is_there: whether a file of the folder has this name.
    :returns: the items that have a name of their own on such a disk (of several items with one
        name, the first), and the problems of the others.
    """
    before = {folded(name): name for name in exported}
    taken: dict[str, str] = {}
    kept, clashing = [], []
    for item in items:
        name = folded(item.name)
        older = item.name if item.name in exported else before.get(name, item.name)
        first = taken.setdefault(name, item.name)
        if first != item.name:
            clashing.append(Problem(item.name, same_name_reason(first)))
        elif older != item.name and is_there(older):
            clashing.append(Problem(item.name, _exported_name_reason(older)))
        else:
            kept.append(item)
    return kept, clashing


def folded(name: str) -> str:
    """Convert a name so that names which such a disk does not distinguish become equal."""
    plain = "/".join(part.rstrip(" .") for part in name.split("/"))
    return unicodedata.normalize("NFC", plain).casefold()


def same_name_reason(first: str) -> str:
    """The reason if an item is not exported because its name equals another's on the disk."""
    return (
        f"is the same name as {printable(first)} for the disk of the destination; "
        "mount with --names portable and export into an empty folder, or choose another disk"
    )


def _exported_name_reason(older: str) -> str:
    return (
        f"is the same name as {printable(older)} for the disk of the destination, which an earlier "
        "export copied; export into an empty folder"
    )


def reason_of(error: OSError) -> str:
    """The text of an error without the path."""
    reason = error.strerror or type(error).__name__
    if error.errno == errno.ENOTCONN:
        return (
            f"{reason}: the mount of the library or of the destination is dead; mount it again, "
            "then run this again"
        )
    if error.errno == errno.EIO:
        return f"{reason}: of the library (then backlotfs status says why) or of the destination"
    if error.errno == errno.EXDEV:
        return f"{reason}: its folder is on another disk than the destination; export it there"
    return reason


def _files(source: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Yield the path and name of every file of one source."""
    root = source.rstrip("/") or "/"
    contents_only = source.endswith("/") or os.path.basename(root) in (".", "..")
    base = "" if contents_only else os.path.basename(root)
    if not os.path.isdir(root):
        yield root, os.path.basename(root)
        return

    def unreadable(error: OSError) -> None:
        problems.append(Problem(os.fsdecode(error.filename or root), reason_of(error)))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        below = os.path.normpath(os.path.join(base, os.path.relpath(folder, root)))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in names + links:
            yield os.path.join(folder, name), os.path.normpath(os.path.join(below, name))


def _patient_stat(path: str, pause: Callable[[float], object]) -> os.stat_result:
    for _ in range(SIZE_ATTEMPTS - 1):
        try:
            return os.stat(path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ETIMEDOUT, errno.EAGAIN):
                raise
        pause(SIZE_PAUSE_S)
    return os.stat(path, follow_symlinks=False)
