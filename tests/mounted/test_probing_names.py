# SPDX-License-Identifier: Apache-2.0
"""What desktops look for beside files, on every folder they meet, costs nothing here."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

FILM = video("film.mov", 1000)
ASSETS = [FILM]

#: By macOS, over Samba too; by GNOME, KDE and Xfce; by Windows over Samba; by tools.
PROBED = (
    *(".metadata_never_index", ".metadata_never_index_unless_rootfs", ".DS_Store", "._film.mov"),
    *(".Trashes", ".TemporaryItems", ".Spotlight-V100", ".fseventsd", ".VolumeIcon.icns"),
    *(".hidden", ".directory", ".Trash", ".Trash-0", ".xdg-volume-info", ".sh_thumbnails"),
    *("autorun.inf", "desktop.ini", "Desktop.ini", "Thumbs.db", "folder.jpg", "AUTORUN.INF"),
    *(".git", ".svn", ".hg", ".nomedia", ".gitignore"),
)  # fmt: skip


def test_probes_are_answered_from_memory(library_mount: Mount) -> None:
    """ENOENT for each, again and again, and neither the API nor a host is asked."""
    library_mount.file_of(FILM).stat()
    before = len(ended_requests(library_mount.emulator))
    for name in PROBED * 3:
        with pytest.raises(FileNotFoundError):
            os.stat(library_mount / name)
        with pytest.raises(FileNotFoundError):
            os.open(library_mount / name, os.O_RDONLY)
    assert len(ended_requests(library_mount.emulator)) == before
    assert os.listdir(library_mount.path) == ["film.mov"]


def test_it_counts_as_remote(library_mount: Mount) -> None:
    """By the colon in its source, which gnulib's programs go by: ``df --local`` leaves it out."""
    for options, listed in (((), True), (("--local",), False)):
        command = ["df", *options, "--output=source", str(library_mount.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert ("backlot:" in done.stdout) is listed, done
