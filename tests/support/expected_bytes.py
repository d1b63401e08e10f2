# SPDX-License-Identifier: Apache-2.0
"""What a file of the mount must hold, taken from the origin and never from the client."""

from __future__ import annotations

import os
from pathlib import Path

from backlotfs.emulator import EmulatedAsset, Emulator

_STEP_BYTES = 1024 * 1024


def origin_bytes(asset: EmulatedAsset, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of this very version of an asset's source; to its end without ``length``."""
    assert asset.content is not None, "this asset has no source"
    return asset.content.read(offset, asset.content.size if length is None else length)


def current(emulator: Emulator, asset: EmulatedAsset) -> EmulatedAsset:
    """The asset as the library has it now."""
    return emulator.library.get(asset.embed_code)


def assert_same_bytes(path: Path, asset: EmulatedAsset) -> None:
    """Read a whole file, however long it is, and compare it with the origin's bytes.

    :raises AssertionError: naming the first range that differs, not megabytes of it.
    """
    with path.open("rb", buffering=0) as file:
        offset = 0
        while part := file.read(_STEP_BYTES):
            assert_equal_bytes(part, origin_bytes(asset, offset, len(part)), offset)
            offset += len(part)
    assert offset == len_of(asset), f"{path.name} ended after {offset} bytes"


def assert_pread(descriptor: int, asset: EmulatedAsset, offset: int, length: int) -> None:
    """One pread gives exactly what the origin has there (less only at the end of the file)."""
    seen = os.pread(descriptor, length, offset)
    assert_equal_bytes(seen, origin_bytes(asset, offset, length), offset)


def assert_equal_bytes(seen: bytes, expected: bytes, offset: int) -> None:
    """Compare without printing megabytes when they differ."""
    if seen != expected:
        at = next((i for i, (a, b) in enumerate(zip(seen, expected, strict=False)) if a != b), None)
        where = f"first at byte {offset + at}" if at is not None else "in length only"
        raise AssertionError(
            f"{len(seen)} bytes from {offset} differ from the {len(expected)} of the origin {where}"
        )


def len_of(asset: EmulatedAsset) -> int:
    """Size of an asset's source."""
    assert asset.content is not None, "this asset has no source"
    return asset.content.size
