"""Which names cost nothing to refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.namespace.noise import is_noise


@pytest.mark.parametrize(
    "name",
    [
        *("._clip.mov", "._.DS_Store", ".DS_Store", "Icon\r", ".Spotlight-V100", ".Trashes"),
        *("Thumbs.db", "thumbs.db", "THUMBS.DB", "desktop.ini", "Desktop.ini", "autorun.inf"),
        *("AutoRun.inf", "$RECYCLE.BIN", "System Volume Information"),
        *(".Trash", ".Trash-0", ".Trash-1000", ".Trash-4294967294", ".directory", ".hidden"),
        *(
            ".xdg-volume-info",
            ".git",
            ".svn",
            ".hg",
            ".nfs00000000a1b2c3d4",
            ".fuse_hidden000000a100000001",
        ),
    ],
)
def test_what_desktops_ask_for(name: str) -> None:
    """Asked of every folder by a desktop, a shell prompt or a client."""
    assert is_noise(name)


@pytest.mark.parametrize(
    "name",
    [
        *("clip.mov", "Trash", ".Trash-", ".Trash-me", ".Trash-1000.mov", ".Trash-\u0661", "._"),
        *("git", ".git.mov", "My Thumbs.db.mp4", "hidden", ".", "..", "", "_clip.mov", ".nfs"),
        *("Autorun.inf.mp4", "DS_Store", ".clip.mov", "\u212aCVS"),
        *(".metadata_never_index", ".sh_thumbnails"),  # a mount may want to answer these
    ],
)
def test_what_may_be_an_asset(name: str) -> None:
    """Anything else is looked for."""
    assert not is_noise(name)


@given(st.text(st.characters(exclude_characters="/\0"), max_size=40))
def test_no_name_of_a_clip_is_noise(name: str) -> None:
    """A media file's ending settles it, unless the name is that of an AppleDouble file."""
    clip = f"{name}.mov"
    assert is_noise(clip) == (len(clip) > 2 and clip.startswith("._"))
