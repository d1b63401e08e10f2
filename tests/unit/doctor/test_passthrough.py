# SPDX-License-Identifier: Apache-2.0
"""What `doctor` says of passthrough."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.doctor import Verdict, check_passthrough
from backlotfs.kernel import mount_table
from backlotfs.kernel.mount_table import parse_mountinfo


@pytest.mark.parametrize(
    ("release", "may", "verdict", "says"),
    [
        ("6.9.0", True, Verdict.OK, "the kernel reads"),
        ("7.0-rc1", True, Verdict.OK, "the kernel reads"),
        ("6.8.12-generic", True, Verdict.NOTE, "Linux 6.9"),
        ("5.15", True, Verdict.NOTE, "Linux 6.9"),
        ("6.18.5", False, Verdict.NOTE, "only to this machine's own root"),
        ("strange", True, Verdict.NOTE, "Linux 6.9"),
    ],
)
def test_check_passthrough(release: str, may: bool, verdict: Verdict, says: str) -> None:
    """A limit with its reason, never a failure."""
    found = check_passthrough(may=may, release=release)
    assert found.verdict is verdict
    assert says in found.detail


@pytest.mark.parametrize(
    ("cache_dir", "says"),
    [
        ("/cache", "off: the disk cache is on a stacked file system, such as a"),
        ("/cache/disk/of/its/own", "the kernel reads"),
        ("/cached", "the kernel reads"),
    ],
)
def test_the_disk_of_the_cache(cache_dir: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's own disk is an overlayfs, a volume in it is not."""
    table = parse_mountinfo(
        "1 1 8:1 / / rw - ext4 /dev/root rw\n"
        "2 1 0:1 / /cache rw - tmpfs covered rw\n"
        "3 2 0:2 / /cache rw - overlay overlay rw\n"
        "4 3 8:2 / /cache/disk rw - xfs /dev/b rw\n"
    )
    monkeypatch.setattr(mount_table, "mounts", lambda: table)
    found = check_passthrough(Path(cache_dir), may=True, release="6.18.5")
    assert says in found.detail
    assert ("--cache-dir" in str(found.remedy)) is says.startswith("off")
