"""Paths that a user names, as files of our mounts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from backlotfs.errors import BacklotError, SettingsError
from backlotfs.kernel.mount_table import our_mounts


class MountedFile(NamedTuple):
    """A file: ``place`` is the mountpoint, ``inner`` its path below it, with a leading ``/``."""

    place: Path
    inner: str

    def __str__(self) -> str:
        return f"{self.place}{self.inner}"


def mounted_files(paths: Iterable[Path]) -> list[MountedFile]:
    """The files that are named, and all below the folders that are; each once, in order.

    :raises SettingsError: a path is in none of our mounts. :raises BacklotError: it is not there,
        or a folder cannot be listed.
    """
    found: dict[MountedFile, None] = {}
    for place, inner in mounted_paths(paths):
        root = str(place).rstrip("/")
        for file in _below(root + inner):
            found[MountedFile(place, file[len(root) :])] = None
    return list(found)


def mounted_paths(paths: Iterable[Path]) -> list[MountedFile]:
    """What is named, without a look at it: files, or folders.

    :raises SettingsError: a path is in none of our mounts.
    """
    places = [entry.mountpoint for entry in our_mounts()]
    found: dict[MountedFile, None] = {}
    for path in paths:
        whole = os.path.realpath(path)
        place = _place_of(whole, places)
        if place is None:
            raise SettingsError(
                f"{path} is in no mount of backlotfs; "
                + (
                    f"name a file or folder in {' or '.join(places)}"
                    if places
                    else "mount the library first: backlotfs mount MOUNTPOINT"
                )
            )
        found[MountedFile(Path(place), whole[len(place.rstrip("/")) :] or "/")] = None
    return list(found)


def place_of(path: str) -> Path | None:
    """The mount of ours that a path is in; None: it is in none."""
    place = _place_of(os.path.realpath(path), (entry.mountpoint for entry in our_mounts()))
    return None if place is None else Path(place)


def _place_of(path: str, places: Iterable[str]) -> str | None:
    around = [
        place for place in places if path == place or path.startswith(place.rstrip("/") + "/")
    ]
    return max(around, key=len, default=None)


def _below(path: str) -> Iterator[str]:
    try:
        if not os.path.isdir(path):
            os.lstat(path)
            yield path
            return
    except OSError as error:
        raise BacklotError(f"{path}: {error.strerror}; see: ls {os.path.dirname(path)}") from None

    def refuse(error: OSError) -> None:
        raise BacklotError(f"{error.filename} cannot be listed: {error.strerror}") from None

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))
