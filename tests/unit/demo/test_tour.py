# SPDX-License-Identifier: Apache-2.0
"""Each station of the tour passes when all is right, and fails when something is not."""

from __future__ import annotations

import os
import shutil
from itertools import chain, count, repeat
from pathlib import Path

import pytest

from backlotfs.demo.tour import CheckFailed, verify
from tests.unit.demo.sample_folder import FolderTour, name_as_attribute

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not here")


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderTour:
    """A tour through a folder that is as it should be."""
    monkeypatch.setattr(os, "getxattr", name_as_attribute)
    return FolderTour(tmp_path)


@pytest.fixture
def urls_are_renewed(shown: FolderTour, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request log tells of more new URLs each time it is asked."""
    asked = count(0, 5)
    monkeypatch.setattr(shown.emulator.requests, "count", lambda **_fits: next(asked))


def test_the_listing_finds_every_asset(
    shown: FolderTour, capfd: pytest.CaptureFixture[str]
) -> None:
    """By embed code, whatever its name; the listing itself is shown."""
    assert shown.tour.listing() == shown.paths
    out = capfd.readouterr().out
    assert f"$ ls -l {shown.tour.mountpoint}" in out
    assert "12 files in" in out


def test_a_missing_asset_is_noticed(shown: FolderTour) -> None:
    """One file less than is served."""
    shown.paths[shown.sample.master].unlink()
    with pytest.raises(CheckFailed, match="12 assets are served, 11 are listed"):
        shown.tour.listing()


def test_a_wrong_size_is_noticed(shown: FolderTour) -> None:
    """Also when the file is there."""
    shown.paths[shown.sample.master].write_bytes(b"")
    with pytest.raises(CheckFailed, match="0 bytes instead of 100"):
        shown.tour.listing()


def test_a_wrong_copy_is_noticed(shown: FolderTour) -> None:
    """A single byte of the right length is enough."""
    shown.tour.copy_of_one_file(shown.paths)
    shown.paths[shown.sample.master].write_bytes(bytes(99) + b"!")
    with pytest.raises(CheckFailed, match="same size"):
        shown.tour.copy_of_one_file(shown.paths)


def test_a_failing_command_is_noticed(shown: FolderTour) -> None:
    """cp that cannot read ends the tour."""
    paths = shown.paths
    paths[shown.sample.master].unlink()
    with pytest.raises(CheckFailed, match="cp ended with 1"):
        shown.tour.copy_of_one_file(paths)


@pytest.mark.usefixtures("urls_are_renewed")
def test_reading_through_expiry_passes(
    shown: FolderTour, capfd: pytest.CaptureFixture[str]
) -> None:
    """Right bytes at the end and at the beginning, and new URLs in the log."""
    shown.tour.read_through_expiry(shown.paths)
    out = capfd.readouterr().out
    assert "every byte equal" in out
    assert "100.0 GB" in out


def test_a_url_that_was_never_renewed_is_noticed(shown: FolderTour) -> None:
    """Then nothing was shown, whatever the bytes."""
    with pytest.raises(CheckFailed, match="asked for 0 new URLs"):
        shown.tour.read_through_expiry(shown.paths)


def test_it_reads_on_until_the_url_was_renewed(
    shown: FolderTour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that has fetched far ahead asks for its next URL late."""
    asked = chain(repeat(0, 8), repeat(5))
    monkeypatch.setattr(shown.emulator.requests, "count", lambda **_fits: next(asked))
    shown.tour.read_through_expiry(shown.paths)


@pytest.mark.usefixtures("urls_are_renewed")
@pytest.mark.parametrize(("offset", "words"), [(-5, "the last"), (5, "wrong bytes after byte 0")])
def test_a_wrong_byte_is_noticed(shown: FolderTour, offset: int, words: str) -> None:
    """At the end or at the beginning."""
    with shown.endless_path.open("r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        right = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([right[0] ^ 1]))
    with pytest.raises(CheckFailed, match=words):
        shown.tour.read_through_expiry(shown.paths)


@needs_rsync
def test_the_second_rsync_copies_nothing(
    shown: FolderTour, capfd: pytest.CaptureFixture[str]
) -> None:
    """All files but the one that is too large, once, and equal."""
    shown.tour.copy_of_the_tree(shown.paths)
    out = capfd.readouterr().out
    assert "First run: 11 files" in out
    assert "Second run: nothing to copy" in out
    assert "SHA-256 of 11 copies" in out
    assert not (shown.tour.copies / "tree" / shown.endless_path.name).exists()


def test_rsync_has_to_say_what_it_did(shown: FolderTour) -> None:
    """A number with any locale's grouping is read; no number is no success."""
    transferred = shown.tour._transferred
    assert transferred("Number of regular files transferred: 1,234\n") == 1234
    with pytest.raises(CheckFailed):
        transferred("")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of eight bytes."""
    path = tmp_path / "original"
    path.write_bytes(b"12345678")
    return path


def test_equal_copies_are_counted(tmp_path: Path, original: Path) -> None:
    """Files and bytes."""
    copy = tmp_path / "copy"
    copy.write_bytes(b"12345678")
    assert verify([(copy, original), (original, original)]) == (2, 16)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "copy: was not copied"),
        (b"1234", "copy: 4 bytes, the original has 8"),
        (b"12345679", "copy: same size, but not the bytes of"),
    ],
)
def test_each_difference_is_told(
    tmp_path: Path, original: Path, content: bytes | None, words: str
) -> None:
    """Missing, cut short, or wrong."""
    copy = tmp_path / "copy"
    if content is not None:
        copy.write_bytes(content)
    with pytest.raises(CheckFailed, match=words):
        verify([(copy, original)])


def test_all_differences_are_told(tmp_path: Path, original: Path) -> None:
    """Not only the first."""
    with pytest.raises(CheckFailed) as failure:
        verify([(tmp_path / "a", original), (original, original), (tmp_path / "b", original)])
    assert len(str(failure.value).splitlines()) == 2
