# SPDX-License-Identifier: Apache-2.0
"""What a shell is offered for values: profiles of the file, mounts that are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from backlotfs.cli import commands, mountpoints
from backlotfs.kernel.mount_table import parse_mountinfo

MOUNTINFO = (
    "37 28 0:40 / /mnt/main ro - fuse.backlotfs backlot:main ro\n"
    "38 28 0:41 / /mnt/other ro - ext4 /dev/sda1 ro\n"
)


def offered(*words: str) -> list[tuple[str, str]]:
    """Value and type of each that is offered for the last word."""
    completion = ShellComplete(commands, {}, "backlotfs", "_BACKLOTFS_COMPLETE")
    return [
        (item.value, item.type) for item in completion.get_completions([*words[:-1]], words[-1])
    ]


def test_profiles(tmp_path: Path) -> None:
    """Those of the file that was named before."""
    file = tmp_path / "config.toml"
    file.write_text("[profiles.main]\n[profiles.archive]\n[profiles.music]\n", "utf-8")
    config = f"--config={file}"
    assert offered("mount", config, "--profile", "m") == [("main", "plain"), ("music", "plain")]
    assert len(offered("ls", config, "--profile", "")) == 3


@pytest.mark.parametrize("text", [None, "not = [TOML", "profiles = 3"])
def test_no_profiles_of_a_file_that_cannot_be_used(text: str | None, tmp_path: Path) -> None:
    """And no error between the words of a command line."""
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text, "utf-8")
    assert offered("mount", f"--config={file}", "--profile", "") == []


def test_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, for what needs one; else, and for a new mount, the shell looks for folders."""
    ours = [entry for entry in parse_mountinfo(MOUNTINFO) if entry.ours]
    monkeypatch.setattr(mountpoints, "our_mounts", lambda: ours)
    for command in ("umount", "status", "stats", "refresh", "pins"):
        assert offered(command, "/mnt/") == [("/mnt/main", "plain")]
    assert offered("umount", "/srv/") == [("/srv/", "dir")]
    assert offered("mount", "/mnt/") == [("/mnt/", "dir")]
