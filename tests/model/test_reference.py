# SPDX-License-Identifier: Apache-2.0
"""The model itself: what is wrong does not get past it."""

from __future__ import annotations

import errno

import pytest

from backlotfs.emulator import EmulatedAsset, Library
from tests.model.reference import ModelFile, ModelHandle
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import video

SIZE = 10_000


def replaced(size: int = SIZE) -> tuple[ModelFile, EmulatedAsset, EmulatedAsset]:
    """A listed file with two versions, the second not yet known to the mount."""
    old = video("reel.mov", SIZE)
    file = ModelFile(old)
    file.settle()
    new = Library([old]).replace(old.embed_code, size=size)
    file.replaced(new)
    return file, old, new


def test_right_bytes_of_either_version_pass() -> None:
    """The open may have been before or after the news."""
    file, old, new = replaced()
    for version in (old, new):
        ModelHandle(file).saw(10, 100, origin_bytes(version, 10, 100))


@pytest.mark.parametrize("at", [0, 57, 99])
def test_one_wrong_bit_is_noticed(at: int) -> None:
    """Wherever it is."""
    file, old, _ = replaced()
    data = bytearray(origin_bytes(old, 10, 100))
    data[at] ^= 1
    with pytest.raises(AssertionError, match=f"differ first at byte {10 + at}"):
        ModelHandle(file).saw(10, 100, bytes(data))


def test_two_versions_by_one_handle_are_noticed() -> None:
    """Each read is right in itself; together they are of no version."""
    file, old, new = replaced()
    handle = ModelHandle(file)
    handle.saw(0, 100, origin_bytes(old, 0, 100))
    with pytest.raises(AssertionError, match="equal, but not allowed"):
        handle.saw(100, 100, origin_bytes(new, 100, 100))


def test_a_mixture_within_one_read_is_noticed() -> None:
    """Half of each."""
    file, old, new = replaced()
    with pytest.raises(AssertionError, match="are wrong"):
        ModelHandle(file).saw(0, 100, origin_bytes(old, 0, 50) + origin_bytes(new, 50, 50))


def test_a_step_back_is_noticed() -> None:
    """An open has shown the new version; a later one shows the old."""
    file, old, new = replaced()
    ModelHandle(file).saw(0, 100, origin_bytes(new, 0, 100))
    with pytest.raises(AssertionError, match="are wrong"):
        ModelHandle(file).saw(0, 100, origin_bytes(old, 0, 100))


def test_a_short_read_of_the_newest_version_is_noticed() -> None:
    """Only a replaced source may be cut, and then its close has to say so."""
    file, old, new = replaced(5000)
    with pytest.raises(AssertionError, match="are wrong"):
        ModelHandle(file).saw(0, 100, origin_bytes(new, 0, 99))
    cut = ModelHandle(file)
    cut.saw(0, 100, origin_bytes(old, 0, 100))
    cut.saw(6000, 100, b"")
    with pytest.raises(AssertionError, match="bytes were missing"):
        cut.closed(0)
    cut.closed(errno.ESTALE)


def test_errors_that_nothing_explains_are_noticed() -> None:
    """ESTALE of the newest version, EIO of any, ENOENT of a file that is there."""
    file, _, new = replaced()
    newest = ModelHandle(file)
    newest.saw(0, 100, origin_bytes(new, 0, 100))
    for wrong in (errno.ESTALE, errno.EIO):
        with pytest.raises(AssertionError):
            newest.failed(wrong)
    with pytest.raises(AssertionError, match="is there"):
        file.check_absent(errno.ENOENT)


def test_a_size_of_no_version_is_noticed() -> None:
    """Also the right size with another version's time."""
    file, old, new = replaced(5000)
    assert old.content is not None
    assert new.content is not None
    file.check_stat(SIZE, old.content.last_modified)
    for size, mtime in ((SIZE, new.content.last_modified), (0, 0), (SIZE - 1, 0)):
        with pytest.raises(AssertionError, match="the origin had"):
            file.check_stat(size, mtime)
