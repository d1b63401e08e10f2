# SPDX-License-Identifier: Apache-2.0
"""Whole files from front to back."""

from __future__ import annotations

import errno
import os

import pytest

from backlotfs.emulator import EmulatedAsset, Fault
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_equal_bytes, assert_same_bytes, origin_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

BLOCK = 128 * KIB
LONG = video("long.mxf", 40 * MIB + 12_345)
#: Sizes around the edges of a block, a page, and a kernel request.
EDGES = [
    video(f"edge-{size}.mov", size)
    for size in (0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, MIB + 1)
]
#: Of which the end cannot be had.
BROKEN = video("broken.mxf", 32 * MIB)
ASSETS = [LONG, BROKEN, *EDGES]
#: A limit far off, with which nothing is hedged: bytes are counted here.
OPTIONS = ("--bwlimit", "10G")


@pytest.mark.parametrize("asset", EDGES, ids=lambda asset: asset.original_file_name)
def test_a_file_of_an_awkward_size_is_whole(library_mount: Mount, asset: EmulatedAsset) -> None:
    """Files that end at, before and after a block's edge hold exactly the origin's bytes."""
    assert_same_bytes(library_mount.file_of(asset), asset)


def test_a_long_file_is_whole_and_fetched_once(serve: Serve, mounted: MountIt) -> None:
    """40 MiB in order: the origin's bytes, and the origin sends no byte twice (but the probe's).

    On a mount of its own: of a library with other files it may have been fetched as the next one of
    a walk, by a GET that was ended when another file was opened.
    """
    emulator = serve(LONG)
    assert_same_bytes(mounted(emulator, *OPTIONS).file_of(LONG), LONG)
    entries = ended_requests(emulator, route="source", embed_code=LONG.embed_code)
    sent = sum(entry.bytes_sent for entry in entries)
    assert sent == 40 * MIB + 12_345 + 1


@pytest.mark.parametrize("step", [1000, 4096, 65_537, 3 * MIB])
def test_any_step_gives_the_same_bytes(library_mount: Mount, step: int) -> None:
    """Reads that straddle blocks and pages are put together right."""
    asset = EDGES[-1]
    with library_mount.file_of(asset).open("rb", buffering=0) as file:
        parts = []
        while part := file.read(step):
            parts.append(part)
    assert_equal_bytes(b"".join(parts), origin_bytes(asset), 0)


def test_reading_at_and_after_the_end_gives_nothing(library_mount: Mount) -> None:
    """The end of a file is an empty read, not an error, however far behind it."""
    path = library_mount.file_of(LONG)
    size = path.stat().st_size
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(descriptor, 10, size) == b""
        assert os.pread(descriptor, 10, size + 10 * MIB) == b""
        assert os.pread(descriptor, 10, size - 1) == origin_bytes(LONG, size - 1)
    finally:
        os.close(descriptor)


def test_a_read_whose_later_part_fails(library_mount: Mount) -> None:
    """Ends before that, as read(2) has it; who reads on there gets the error, never an end."""
    library_mount.expect_log("EACCES")
    faults, size = library_mount.emulator.faults, 32 * MIB
    rule = faults.add(
        Fault.of("access_denied"),
        route="source",
        embed_code=BROKEN.embed_code,
        offsets=(8 * MIB, size),
    )
    descriptor = os.open(library_mount.file_of(BROKEN), os.O_RDONLY)
    try:
        seen = os.pread(descriptor, size, 0)
        assert 0 < len(seen) < size
        assert_equal_bytes(seen, origin_bytes(BROKEN, 0, len(seen)), 0)
        with pytest.raises(PermissionError) as caught:
            os.pread(descriptor, size, len(seen))
        assert caught.value.errno == errno.EACCES
    finally:
        os.close(descriptor)
    faults.remove(rule)
    assert_same_bytes(library_mount.file_of(BROKEN), BROKEN)


def test_reading_again_asks_nobody(library_mount: Mount) -> None:
    """A second pass over an unchanged file is served without a request to the origin."""
    asset = EDGES[-1]
    path = library_mount.file_of(asset)
    assert_same_bytes(path, asset)
    before = len(ended_requests(library_mount.emulator, embed_code=asset.embed_code))
    assert_same_bytes(path, asset)
    assert len(ended_requests(library_mount.emulator, embed_code=asset.embed_code)) == before
