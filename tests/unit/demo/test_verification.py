"""A copy that is not the original is found, and the report says how it differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.demo.verification import CheckFailed, verify


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
