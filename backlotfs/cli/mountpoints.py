# SPDX-License-Identifier: Apache-2.0
"""Mountpoints and mounted files as arguments of commands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from backlotfs.errors import BacklotError, FuseUnusable, SettingsError
from backlotfs.kernel.mount_table import our_mounts
from backlotfs.kernel.mountpoint import resolved


class _Folder(click.Path):
    """A path that the shell completes to folders. click must not stat it: a stat could hang."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Let the shell complete folders."""
        return [CompletionItem(incomplete, type="dir")]


class _Mounted(_Folder):
    """A path that the shell completes to mountpoints of backlotfs. They are not accessed."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the mountpoints that start with ``incomplete``; if there is none, folders."""
        places = [entry.mountpoint for entry in our_mounts()]
        found = [CompletionItem(place) for place in places if place.startswith(incomplete)]
        return found or super().shell_complete(ctx, param, incomplete)


#: Types of an argument for a new mountpoint and for an existing one, dead mounts included.
MOUNTPOINT, MOUNTED = _Folder(), _Mounted()

#: The argument of commands that work on files and folders of mounts.
PATHS = click.argument(
    "paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path)
)


def the_mount(mountpoint: Path | None) -> Path:
    """The mount on ``mountpoint``; None: the only mount of this user, else the only mount at all.

    :raises FuseUnusable: there is no mount. :raises SettingsError: there are several.
    """
    if mountpoint is not None:
        return resolved(mountpoint)
    mounts = our_mounts()
    places = [entry.mountpoint for entry in mounts if entry.made_by(os.geteuid())]
    if not places:  # the error for a mount of another user comes when it is asked
        places = [entry.mountpoint for entry in mounts]
    if not places:
        raise FuseUnusable("nothing is mounted by backlotfs; see: backlotfs mount --help")
    if len(places) > 1:
        raise SettingsError(f"several are mounted, name one of: {', '.join(places)}")
    return Path(places[0])


class MountedFile(NamedTuple):
    """A file of a mount: ``place`` is the mountpoint, ``inner`` the path below it, from ``/``."""

    place: Path
    inner: str

    def __str__(self) -> str:
        return f"{self.place}{self.inner}"

    @property
    def name_in_mount(self) -> str:
        """``inner`` as the mount decodes it: as UTF-8, whatever the locale of the command is."""
        return os.fsencode(self.inner).decode("utf-8", "surrogateescape")


def mounted_files(paths: Iterable[Path]) -> list[MountedFile]:
    """The named files and all files below the named folders; each once, in order.

    :raises SettingsError: a path is in no mount of backlotfs.
    :raises BacklotError: a path does not exist, or a folder cannot be listed.
    """
    found: dict[MountedFile, None] = {}
    for place, inner in mounted_paths(paths):
        root = str(place).rstrip("/")
        for file in _below(root + inner):
            found[MountedFile(place, file[len(root) :])] = None
    return list(found)


def mounted_paths(paths: Iterable[Path]) -> list[MountedFile]:
    """The named files and folders, without access to the mount.

    :raises SettingsError: a path is in no mount of backlotfs.
    """
    places = [entry.mountpoint for entry in our_mounts()]
    found: dict[MountedFile, None] = {}
    for path in paths:
        whole = os.path.realpath(path)
        place = _innermost(whole, places)
        if place is None:
            remedy = (
                f"name a file or folder in {' or '.join(places)}"
                if places
                else "mount the library first: backlotfs mount MOUNTPOINT"
            )
            raise SettingsError(f"{path} is in no mount of backlotfs; {remedy}")
        found[MountedFile(Path(place), whole[len(place.rstrip("/")) :] or "/")] = None
    return list(found)


def mount_of(path: str) -> Path | None:
    """The mountpoint of the mount of backlotfs that holds ``path``, or None."""
    place = _innermost(os.path.realpath(path), (entry.mountpoint for entry in our_mounts()))
    return None if place is None else Path(place)


def _innermost(path: str, places: Iterable[str]) -> str | None:
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
