# SPDX-License-Identifier: Apache-2.0
"""A program that makes previews is given what it asks for, and nothing ahead of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedAsset
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

PREVIEWED = video("previewed.mov", 20 * MIB)
PLAYED = video("played.mov", 20 * MIB)
ASSETS = [PREVIEWED, PLAYED]
#: A limit far off, with which nothing is hedged: bytes are counted here.
OPTIONS = ("--bwlimit", "10G")
#: Read one after another from the head, as a demultiplexer does.
READS, READ_BYTES = 8, 32 * KIB

_READER = """
import os, pathlib, sys
name, path, reads, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pathlib.Path("/proc/self/comm").write_text(name)
file = os.open(path, os.O_RDONLY)
for _ in range(reads):
    assert len(os.read(file, size)) == size
"""


def _read_as(program: str, path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", _READER, program, path, str(READS), str(READ_BYTES)],
        check=True,
        timeout=60,
    )


def _fetched(mount: Mount, asset: EmulatedAsset) -> int:
    """Once nothing is under way any more; without the byte that told the size."""
    entries = ended_requests(mount.emulator, route="source", embed_code=asset.embed_code)
    return sum(entry.bytes_sent for entry in entries if entry.bytes_sent > 1)


def test_nothing_is_fetched_ahead_of_a_preview(library_mount: Mount) -> None:
    """Whole blocks of what was read; a player that reads the same has more fetched for it."""
    for asset in ASSETS:
        library_mount.file_of(asset).stat()  # a file of unknown size is not there for tumblerd
    _read_as("tumblerd", library_mount.file_of(PREVIEWED))
    assert _fetched(library_mount, PREVIEWED) == READS * READ_BYTES
    _read_as("mpv", library_mount.file_of(PLAYED))
    assert _fetched(library_mount, PLAYED) > READS * READ_BYTES
