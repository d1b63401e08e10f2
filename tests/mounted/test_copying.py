# SPDX-License-Identifier: Apache-2.0
"""The programs people use: cp, rsync, ffprobe."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from backlotfs.emulator import FileContent
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.programs import run_program

pytestmark = pytest.mark.mounted


def test_cp_copies_every_byte_and_the_time(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """``cp -p``: equal bytes, and the mtime of the origin's object."""
    asset = video("reel.mov", 20 * MIB + 3)
    mount = mounted(serve(asset))
    copy = tmp_path / "copy.mov"
    run_program("cp", "-p", mount.file_of(asset), copy)
    assert_same_bytes(copy, asset)
    assert asset.content is not None
    assert copy.stat().st_mtime == asset.content.last_modified


def test_the_second_rsync_copies_nothing(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """``rsync -a`` of the tree, twice, with an edited title between: it has nothing to do."""
    assets = [video(f"reel-{n}.mov", 500_000 * n, tag="rsync") for n in range(5)]
    assets.append(video("reel-1.mov", 77, tag="same name"))
    emulator = serve(*assets)
    mount = mounted(emulator, "--metadata-ttl", "0s")
    command = ("rsync", "-a", "--itemize-changes", f"{mount.path}/", f"{tmp_path}/copy/")
    assert run_program(*command).count(">f+++++++++") == len(assets)
    for asset in assets[:1] + assets[2:5]:
        assert_same_bytes(tmp_path / "copy" / str(asset.original_file_name), asset)
    emulator.library.edit(assets[2].embed_code, title="Another title")
    assert run_program(*command) == ""
    assert run_program(*command) == ""
    assert run_program(*command, "--checksum") == ""


def test_a_copy_of_folders_can_be_deleted(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """The copy has modes 0755 and 0644, so its owner changes and deletes it, also without root."""
    mount = mounted(serve(video("reel.mov", 1000)), "--layout", "flat,dates")
    copy = tmp_path / "copy"
    run_program("rsync", "-a", f"{mount.path}/", str(copy))
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in copy.rglob("*")}
    assert modes == {(True, 0o755), (False, 0o644)}
    # root may delete everything; a process without its capabilities asks the modes
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    run_program(*(without if os.geteuid() == 0 else ()), "rm", "-r", str(copy))
    assert not copy.exists()


def test_ffprobe_finds_the_index_at_the_end(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """A real MP4, its index behind the media: ffprobe and ffmpeg see what they see on disk."""
    original = tmp_path / "bars.mp4"
    run_program(
        "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=4",
        "-f", "lavfi", "-i", "sine=frequency=440:duration=4", "-c:v", "mpeg4", "-q:v", "2",
        "-c:a", "aac", "-shortest", original,
    )  # fmt: skip  # one program's arguments
    data = original.read_bytes()
    assert data.index(b"moov") > len(data) // 2, "this MP4 has its index in front"
    asset = video("bars.mp4", FileContent(original))
    path = mounted(serve(asset)).file_of(asset)
    probe = ("ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json")
    seen, expected = (json.loads(run_program(*probe, file)) for file in (path, original))
    del seen["format"]["filename"], expected["format"]["filename"]
    assert seen == expected
    assert {stream["codec_type"] for stream in seen["streams"]} == {"video", "audio"}
    frames = ("ffmpeg", "-v", "error", "-ss", "2", "-i")
    hashed = ("-map", "0:v", "-f", "framemd5", "-")
    assert run_program(*frames, path, *hashed) == run_program(*frames, original, *hashed)
