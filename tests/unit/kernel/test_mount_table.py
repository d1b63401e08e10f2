# SPDX-License-Identifier: Apache-2.0
"""What is mounted where, from mountinfo."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backlotfs.kernel import mount_table
from backlotfs.kernel.mount_table import (
    MountEntry,
    MountProbe,
    mount_at,
    our_mounts,
    parse_mountinfo,
    probe_mount,
)

TEXT = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=remount-ro
40 22 0:35 / /mnt/main ro,nosuid,nodev,noexec - fuse.backlotfs backlot:main ro,user_id=0
41 22 0:36 / /mnt/with\\040space\\011tab\\134back rw shared:2 master:1 - fuse.other a\\040b rw
42 22 0:37 / /mnt/main ro - fuse.backlotfs backlot:top ro
nonsense
43 22 0:38 / /short - tmpfs
"""
ODD = "/mnt/a\x0cb\x85c\u2028d\udcff"


def test_parse() -> None:
    """Mountpoint, type, source, options of both kinds; other lines are skipped."""
    entries = parse_mountinfo(TEXT)
    assert [entry.mountpoint for entry in entries] == [
        "/", "/mnt/main", "/mnt/with space\ttab\\back", "/mnt/main",
    ]  # fmt: skip
    main = entries[1]
    assert main == MountEntry(
        "/mnt/main",
        "fuse.backlotfs",
        "backlot:main",
        frozenset({"ro", "nosuid", "nodev", "noexec", "user_id=0"}),
        "0:35",
    )
    assert [entry.ours for entry in entries] == [False, True, False, True]
    assert entries[2].source == "a b"


@pytest.mark.parametrize(
    ("source", "options", "ours"),
    [
        ("backlot:main", "ro,nosuid,nodev,noexec,relatime", True),
        ("backlot:main", "rw,nosuid,nodev", False),
        ("backlot:main", "ro,nosuid,nodev", False),
        ("nas:/films", "ro,nosuid,nodev,noexec", False),
        ("user@backlot:main", "ro,nosuid,nodev,noexec", False),
    ],
)
def test_a_borrowed_type(source: str, options: str, ours: bool) -> None:
    """What is mounted by the real sshfs is not ours, even from a host that is called so."""
    (entry,) = parse_mountinfo(f"40 22 0:35 / /m {options} - fuse.sshfs {source} ro,user_id=7\n")
    assert entry.ours is ours
    assert entry.made_by(7) is ours


def test_odd_names() -> None:
    """What the kernel does not escape is no end of a line."""
    (entry,) = parse_mountinfo(f"40 22 0:35 / {ODD} ro - fuse.backlotfs s ro\n")
    assert entry.mountpoint == ODD


@pytest.fixture
def _made_up_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TEXT)

    def path(name: str) -> Path:
        assert name == "/proc/self/mountinfo"
        return table

    monkeypatch.setattr(mount_table, "Path", path)


@pytest.mark.usefixtures("_made_up_table")
def test_mount_at() -> None:
    """The topmost; only at exactly this path."""
    found = mount_at("/mnt/main")
    assert found is not None
    assert found.source == "backlot:top"
    assert mount_at("/mnt") is None
    assert [entry.source for entry in our_mounts()] == ["backlot:main", "backlot:top"]


def test_this_machine() -> None:
    """The real table can be read."""
    root = mount_at(Path("/"))
    assert root is None or not root.ours
    assert all(entry.ours for entry in our_mounts())


def test_a_path_that_answers(tmp_path: Path) -> None:
    """Its device, as `os.stat` says; odd names are names."""
    odd = tmp_path / "-f a'b $(x)"
    odd.mkdir()
    assert probe_mount(odd) == MountProbe(os.stat(odd).st_dev, dead=False)


def test_a_path_that_is_missing(tmp_path: Path) -> None:
    """Neither an answer nor a dead mount."""
    assert probe_mount(tmp_path / "absent") == MountProbe(None, dead=False)


def test_a_path_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up in time, without waiting for the child."""
    monkeypatch.setattr(mount_table, "_SCRIPT", ("-c", "exec sleep 30", "probe_mount"))
    start = time.monotonic()
    assert probe_mount(tmp_path, timeout_s=0.2) == MountProbe(None, dead=False, silent=True)
    assert time.monotonic() - start < 10
