# SPDX-License-Identifier: Apache-2.0
"""Signals to the daemon, also while the origin keeps somebody waiting."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from backlotfs.config.time_limits import STALL_TIMEOUT_S
from backlotfs.emulator import Fault
from tests.conftest import MountIt, Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_pread, assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount, held_open, is_mounted
from tests.support.stalled_readers import readers, stall_source, wait_until_stalled

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

REEL = video("reel.mov", 30 * MIB)
OTHER = video("other.mov", 2 * MIB)
#: The grace for open files is 2 s; the rest is for a busy machine. Whoever hangs does for 30 s.
STOP_S = 20.0


@pytest.fixture
def mount(serve: Serve, mounted: MountIt) -> Mount:
    """A mount of two files, their sizes known."""
    running = mounted(serve(REEL, OTHER))
    for asset in (REEL, OTHER):
        running.file_of(asset).stat()
    return running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_mount_ends_at_once(mount: Mount, number: signal.Signals) -> None:
    """Exit code 0, unmounted, without the grace for open files being waited out twice."""
    mount.process.send_signal(number)
    assert mount.process.wait(STOP_S) == 0
    assert not is_mounted(mount.path)


def test_sigterm_with_a_stalled_read_ends_in_time(mount: Mount) -> None:
    """The reader gets an error, the process exit code 0, and no mount is left."""
    stall_source(mount.emulator, REEL)
    with readers(mount.file_of(REEL), [0, 10 * MIB]) as (reader, other):
        wait_until_stalled(mount.emulator, REEL, 2)
        assert mount.terminate(within_s=STOP_S) == 0
        assert not is_mounted(mount.path)
        assert reader.wait(STOP_S) != 0
        assert other.wait(STOP_S) != 0


def test_sigterm_with_a_stalled_stat_ends_in_time(serve: Serve, mounted: MountIt) -> None:
    """The same while a size is being asked for."""
    mount = mounted(serve(REEL))
    stall_source(mount.emulator, REEL)
    with readers(mount.file_of(REEL), [0]) as (reader,):
        wait_until_stalled(mount.emulator, REEL)
        assert mount.terminate(within_s=STOP_S) == 0
        assert reader.wait(STOP_S) != 0


def test_sigterm_before_the_mount_is_there_ends_at_once(serve: Serve, tmp_path: Path) -> None:
    """While a long listing runs: gone in a moment, by the code of the signal, nothing mounted."""
    emulator = serve(REEL)
    listing = emulator.faults.add(Fault.delay(60), route="assets", skip=1)
    mount = Mount(emulator, tmp_path)
    mount.expect_exit(128 + signal.SIGTERM)
    mount.launch()
    try:
        emulator.requests.wait_for(lambda _log: listing.hits > 0)
        mount.terminate(within_s=STOP_S)
    finally:
        mount.close()


def test_sigterm_with_an_idle_open_file_ends_in_time(mount: Mount) -> None:
    """A program that keeps a file open does not keep the daemon; its next read is an error."""
    with held_open(mount.file_of(REEL)) as descriptor:
        assert_pread(descriptor, REEL, 0, 1000)
        assert mount.terminate(within_s=STOP_S) == 0
        assert not is_mounted(mount.path)
        with pytest.raises(OSError, match=r"not connected|aborted|Interrupted"):
            os.pread(descriptor, 1000, 20 * MIB)


def test_a_killed_reader_is_gone_at_once(mount: Mount) -> None:
    """SIGKILL of a program that waits for a stalled origin: gone before its read is given up."""
    rule = stall_source(mount.emulator, REEL)
    with readers(mount.file_of(REEL), [12 * MIB]) as (reader,):
        wait_until_stalled(mount.emulator, REEL)
        reader.kill()
        assert reader.wait(STALL_TIMEOUT_S / 2) == -signal.SIGKILL
    rule.release()
    assert_same_bytes(mount.file_of(OTHER), OTHER)


def test_sighup_shows_what_was_uploaded_and_deleted(mount: Mount) -> None:
    """SIGHUP lists the library anew, long before the TTL; the mount stays."""
    new = video("uploaded.mov", 5000)
    library = mount.emulator.library
    library.add(new)
    library.delete(OTHER.embed_code)
    mount.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: sorted(os.listdir(mount.path)) == ["reel.mov", "uploaded.mov"],
        "the new upload to be listed, and the deleted one not",
    )
    assert_same_bytes(mount.file_of(new), new)
    assert mount.process.poll() is None


def test_sigusr1_dumps_state_and_goes_on(mount: Mount) -> None:
    """The state is in the log, with every thread's stack, and the mount still answers."""
    mount.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: "state: 2 assets" in mount.log_text(), "the state in the log")
    assert "stack of signals: " in mount.log_text()
    assert_same_bytes(mount.file_of(OTHER), OTHER)
