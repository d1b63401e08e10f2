"""MOUNTPOINT as an argument, and which mount is meant when none is named."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from backlotfs.errors import FuseUnusable, SettingsError
from backlotfs.kernel.mount_table import our_mounts
from backlotfs.kernel.mountpoint import resolved


class _Folder(click.Path):
    """Completed to folders; not looked at by click, which could not read a dead mount."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The shell looks itself."""
        return [CompletionItem(incomplete, type="dir")]


class _Mounted(_Folder):
    """Completed to what is mounted, which needs no look into it."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Mountpoints that begin so, else folders."""
        places = [entry.mountpoint for entry in our_mounts()]
        found = [CompletionItem(place) for place in places if place.startswith(incomplete)]
        return found or super().shell_complete(ctx, param, incomplete)


#: Of a mount that is to be made, and of one that is there, dead ones included.
MOUNTPOINT, MOUNTED = _Folder(), _Mounted()


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
