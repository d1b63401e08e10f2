"""MOUNTPOINT as an argument, and which mount is meant when none is named."""

from __future__ import annotations

from pathlib import Path

import click

from backlotfs.errors import FuseUnusable, SettingsError
from backlotfs.kernel.mount_table import our_mounts
from backlotfs.kernel.mountpoint import resolved

#: Not looked at by click: a dead mount cannot be read, and is still to be named.
MOUNTPOINT = click.Path(path_type=Path, readable=False)


def the_mount(mountpoint: Path | None) -> Path:
    """The mount that is meant; without a name the only one there is.

    :raises FuseUnusable: there is none. :raises SettingsError: there are several.
    """
    if mountpoint is not None:
        return resolved(mountpoint)
    places = [entry.mountpoint for entry in our_mounts()]
    if not places:
        raise FuseUnusable("nothing is mounted by backlotfs; see: backlotfs mount --help")
    if len(places) > 1:
        raise SettingsError(f"several are mounted, name one of: {', '.join(places)}")
    return Path(places[0])
