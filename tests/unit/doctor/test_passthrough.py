"""What `doctor` says of passthrough."""

from __future__ import annotations

import pytest

from backlotfs.doctor import Verdict, check_passthrough


@pytest.mark.parametrize(
    ("release", "may", "verdict", "says"),
    [
        ("6.9.0", True, Verdict.OK, "the kernel reads"),
        ("7.0-rc1", True, Verdict.OK, "the kernel reads"),
        ("6.8.12-generic", True, Verdict.NOTE, "Linux 6.9"),
        ("5.15", True, Verdict.NOTE, "Linux 6.9"),
        ("6.18.5", False, Verdict.NOTE, "CAP_SYS_ADMIN"),
        ("strange", True, Verdict.NOTE, "Linux 6.9"),
    ],
)
def test_check_passthrough(release: str, may: bool, verdict: Verdict, says: str) -> None:
    """A limit with its reason, never a failure."""
    found = check_passthrough(may=may, release=release)
    assert found.verdict is verdict
    assert says in found.detail
