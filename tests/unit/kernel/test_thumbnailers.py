"""Which callers make previews."""

from __future__ import annotations

import pytest

from backlotfs.kernel.thumbnailers import NAMES, ThumbnailerDetector


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("tumblerd", True),
        ("ffmpegthumbnail", True),
        ("totem-video-thu", True),
        ("ffmpeg", False),
        ("kioworker", False),
        ("cp", False),
        ("(unknown)", False),
    ],
)
def test_by_name(name: str, *, is_one: bool) -> None:
    """As the kernel cuts names; nobody who copies or plays is one."""
    asked: list[int] = []

    def name_of(pid: int) -> str:
        asked.append(pid)
        return name

    assert ThumbnailerDetector(name_of, lambda: 7).is_caller() is is_one
    assert asked == [7]


def test_names_are_as_the_kernel_keeps_them() -> None:
    """Fifteen bytes at most: a longer one would never be met."""
    assert all(0 < len(name.encode()) <= 15 for name in NAMES)
