# SPDX-License-Identifier: Apache-2.0
"""``--subtype sshfs``: another type in the kernel's table, and still a mount of ours."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from backlotfs.kernel.mount_table import mount_at
from tests.conftest import MountIt, Serve
from tests.support.commands import run
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import END_S, Mount, is_mounted

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", MIB)
OPTIONS = ("--subtype", "sshfs")


@pytest.fixture
def mount(serve: Serve, mounted: MountIt) -> Mount:
    """A mount of one file under the type of another program."""
    return mounted(serve(REEL), *OPTIONS)


def test_commands_find_it(mount: Mount) -> None:
    """By its source: ``status`` and ``warm`` speak to it, ``umount`` takes it down."""
    entry = mount_at(mount.path)
    assert entry is not None
    assert (entry.fs_type, entry.source) == ("fuse.sshfs", "backlot:test")
    assert entry.ours
    assert_same_bytes(mount.file_of(REEL), REEL)
    done = run("status", "--json", mount.path, home=mount.folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mountpoint"] == str(mount.path)
    done = run("warm", mount.file_of(REEL), home=mount.folder)
    assert "in no mount of backlotfs" not in done.stderr
    done = run("umount", mount.path, home=mount.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mount.process.wait(END_S) == 0


def test_a_dead_one_is_repaired(mount: Mount) -> None:
    """By the next mount in its place, and by ``umount``."""
    mount.kill()
    again = Mount(mount.emulator, mount.folder, *OPTIONS)
    again.expect_log("cleared the dead mount on")
    with closing(again.launch()):
        wait_until(lambda: "INFO backlotfs.mount.serve: mounted" in again.log_text(), "it")
        assert_same_bytes(again.file_of(REEL), REEL)
        again.kill()
        done = run("umount", again.path, home=again.folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_mounted(again.path)
