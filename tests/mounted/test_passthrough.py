# SPDX-License-Identifier: Apache-2.0
"""Files that are wholly in the disk cache are read by the kernel itself."""

from __future__ import annotations

import mmap
import os
import signal

import pytest

from backlotfs.kernel import passthrough
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, current, origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount, held_open
from tests.support.passed_through import in_use, make_complete, state

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 5 * MIB + 77)
OTHER = video("other.mov", MIB)


def reads(mount: Mount) -> int:
    """How many READ requests have come."""
    return sum(usage["reads"] for usage in ask(mount.path, "status")["processes"].values())


@pytest.fixture
def mount(serve: Serve, mounted: MountIt) -> Mount:
    """A mount with a disk cache."""
    return mounted(serve(REEL, OTHER), "--cache-size", "64M")


def test_the_mount_sees_no_read(mount: Mount) -> None:
    """Right bytes, by read and by mapping, and no request."""
    make_complete(mount, REEL)
    before = reads(mount)
    assert_same_bytes(mount.file_of(REEL), REEL)
    with (
        mount.file_of(REEL).open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
    ):
        assert mapped[:] == origin_bytes(REEL, 0, len(mapped))
        assert state(mount)["files"] == 1
        assert in_use(mount, REEL)
    assert reads(mount) == before
    wait_until(lambda: state(mount)["files"] == 0, "the release")
    assert not in_use(mount, REEL)
    assert "user.backlotfs.passthrough" not in os.listxattr(mount.file_of(REEL))
    for command in ("status", "stats"):
        said = commands.run(command, mount.path, home=mount.folder).stdout
        assert f"0 files open, {state(mount)['opens']} opens so far" in said


def test_open_files_agree(mount: Mount) -> None:
    """A file that is read through the mount stays so until it is closed, and the reverse."""
    with held_open(mount.file_of(REEL)) as early:
        done = commands.run("warm", mount.file_of(REEL), home=mount.path.parent)
        assert done.returncode == 0, done.stderr
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert os.pread(early, 4096, MIB) == origin_bytes(REEL, MIB, 4096)
        assert not in_use(mount, REEL)
    make_complete(mount, REEL)
    with held_open(mount.file_of(REEL)) as one, held_open(mount.file_of(REEL)) as two:
        for descriptor in (one, two):
            assert os.pread(descriptor, 4096, MIB) == origin_bytes(REEL, MIB, 4096)
        assert state(mount)["files"] == 1


def test_a_replaced_source(mount: Mount) -> None:
    """The old version is passed through to its end, the new one has other bytes."""
    make_complete(mount, REEL)
    with held_open(mount.file_of(REEL)) as old:
        mount.emulator.library.replace(REEL.embed_code, size=2 * MIB)
        mount.process.send_signal(signal.SIGHUP)
        wait_until(lambda: mount.file_of(REEL).stat().st_size == 2 * MIB, "the new version")
        assert_same_bytes(mount.file_of(REEL), current(mount.emulator, REEL))
        assert os.pread(old, 4096, 4 * MIB) == origin_bytes(REEL, 4 * MIB, 4096)
        assert os.fstat(old).st_size == 5 * MIB + 77


def test_a_file_that_another_program_changed(mount: Mount) -> None:
    """It is not given to the kernel; what is read is right."""
    make_complete(mount, REEL)
    before = state(mount)["opens"]
    [file] = mount.path.parent.rglob("blocks/*/files/*.mov")
    with file.open("r+b") as there:
        there.write(b"something else")
    assert_same_bytes(mount.file_of(REEL), REEL)
    assert state(mount)["opens"] == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--no-passthrough"], passthrough.OFF),
        (["-o", "passthrough=no"], passthrough.OFF),
        (["--cache-size", "0"], passthrough.NO_DISK),
        (["--fuse-binding", "fusepy"], passthrough.FUSEPY),
    ],
)
def test_switched_off(serve: Serve, mounted: MountIt, options: list[str], reason: str) -> None:
    """`status` says so and `stats` says why, and reads go through the mount."""
    mount = mounted(serve(OTHER), *options)
    assert state(mount) == {"off": reason, "opens": 0, "files": 0}
    assert_same_bytes(mount.file_of(OTHER), OTHER)
    assert not in_use(mount, OTHER)
    shown = {
        command: commands.run(command, mount.path, home=mount.folder).stdout
        for command in ("status", "stats")
    }
    assert "passthrough off (see: backlotfs stats)" in shown["status"]
    assert f"off: {reason}" in shown["stats"]
