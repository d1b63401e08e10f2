# SPDX-License-Identifier: Apache-2.0
"""A file manager that copies a folder: the next files are fetched before it opens them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import KIB, video
from tests.support.request_log import bytes_sent
from tests.support.screen import screen

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.desktop("Xvfb", "xdotool", "dbus-daemon", "dbus-send", "thunar"),
]

COUNT = 60
SIZE = 700 * KIB
COPY_S = 100.0
_THUNAR = ("--dest=org.xfce.FileManager", "/org/xfce/FileManager")


def test_thunar_copies_a_folder(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Right bytes, none fetched twice, and most of them before their file was opened."""
    assets = [video(f"clip-{number:02}.mov", SIZE + number) for number in range(COUNT)]
    emulator = serve(*assets)
    mount = mounted(emulator, "--bwlimit", "10G", "--no-passthrough")
    for asset in assets:
        mount.file_of(asset).stat()
    # As far away as real hosts are. One at hand may have answered Thunar before a plan is made.
    emulator.faults.add(Fault.delay(0.03), route="source")
    home, copies = tmp_path / "home", tmp_path / "copies"
    home.mkdir(mode=0o700)
    copies.mkdir()
    with screen(home) as desktop, desktop.running("thunar", copies):
        desktop.window(copies.name)
        desktop.run(
            *("dbus-send", "--session", "--print-reply", *_THUNAR),
            *("org.xfce.FileManager.CopyInto", "string:/", f"array:string:{mount.path.as_uri()}"),
            *(f"string:{copies.as_uri()}", f"string:{desktop.environment['DISPLAY']}", "string:"),
        )
        copy = copies / mount.path.name
        copied = [copy / str(asset.original_file_name) for asset in assets]
        wait_until(
            lambda: all(
                path.exists() and path.stat().st_size == SIZE + number
                for number, path in enumerate(copied)
            ),
            "the copy",
            timeout_s=COPY_S,
        )
    for path, asset in zip(copied, assets, strict=True):
        assert_same_bytes(path, asset)
    total = sum(SIZE + number for number in range(COUNT))
    assert bytes_sent(emulator, *assets) == total
    assert ask(mount.path, "stats")["next_files"]["read_bytes"] > total // 2
