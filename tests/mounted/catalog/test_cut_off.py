# SPDX-License-Identifier: Apache-2.0
"""The origin is cut off, sources and API alike: what is known is answered, the rest ends."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import KeptLibrary, api_calls
from tests.support.expected_bytes import assert_pread
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount, held_open
from tests.support.outage import take_down
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{number}.mov", 8 * MIB + number) for number in range(20)]
REEL = ASSETS[0]
#: Typically it is below 1 ms; a busy machine has its moments.
AT_ONCE_S = 8.0
#: From the origin's return to bytes of a new read: 2 s are promised; a busy machine adds to it.
BACK_S = 30.0
COMPLAINT = r"STALE|could not be refreshed|read: EIO: source host"


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library, every size known from an earlier mount."""
    library = keep(*ASSETS)
    library.fill()
    return library


def slowest_s(calls: list[Callable[[], object]]) -> float:
    """How long the slowest of them takes."""
    longest = 0.0
    for call in calls:
        began = time.perf_counter()
        call()
        longest = max(longest, time.perf_counter() - began)
    return longest


def metadata(mount: Mount) -> list[Callable[[], object]]:
    """Every operation that knows its answer; the kernel of a new mount has none of them yet."""
    files = [mount.file_of(asset) for asset in ASSETS]
    return [
        lambda: os.statvfs(mount.path),
        lambda: os.listdir(mount.path),
        *(file.stat for file in files),
        *((lambda file=file: os.listxattr(file)) for file in files),
        *((lambda file=file: os.getxattr(file, "user.backlot.embed_code")) for file in files),
        lambda: (mount / "absent.mov").exists(),
        lambda: os.statvfs(files[0]),
        lambda: os.access(files[0], os.R_OK),
    ]


def test_metadata_asks_nobody(kept: KeptLibrary) -> None:
    """statfs, readdir, getattr, xattrs and absent names of a new mount: at once, without a request.

    But for the look at the API that a mount takes once, beside.
    """
    with kept.hanging():
        mount = kept.mount()
        mount.expect_log(COMPLAINT)
        asked = len(api_calls(kept.emulator))
        sources = kept.emulator.requests.count(route="source")
        assert slowest_s(metadata(mount)) < AT_ONCE_S
        assert len(api_calls(kept.emulator)) <= asked + 1
        assert kept.emulator.requests.count(route="source") == sources


@pytest.mark.long
def test_a_dead_origin_fails_reads_in_time_and_is_used_again(kept: KeptLibrary) -> None:
    """EIO within the deadline, metadata at once meanwhile; once it is back, bytes again."""
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    with held_open(mount.file_of(REEL)) as descriptor:
        # Without the kernel's read-ahead, whose failure it would ask for again.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        assert_pread(descriptor, REEL, 0, 1000)
        take_down(kept.emulator)
        began = time.monotonic()
        with pytest.raises(OSError, match=r".") as caught:
            os.pread(descriptor, 1000, 6 * MIB)
        assert caught.value.errno == errno.EIO
        assert time.monotonic() - began < 30.0
        assert slowest_s(metadata(mount)) < AT_ONCE_S
        kept.restart()
        began = time.monotonic()
        assert_pread(descriptor, REEL, 6 * MIB, 1000)
        assert time.monotonic() - began < BACK_S


def test_a_suspended_machine_goes_on_reading(keep: Keep) -> None:
    """Stopped for longer than a URL lives: the open file reads on, with one new URL."""
    kept = keep(REEL, url_lifetime_s=1)
    mount = kept.mount()
    with held_open(mount.file_of(REEL)) as descriptor:
        assert_pread(descriptor, REEL, 0, 1000)
        before = len(ended_requests(kept.emulator, route="streams"))
        mount.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # the life of a URL is counted in whole seconds
        mount.process.send_signal(signal.SIGCONT)
        assert_pread(descriptor, REEL, 6 * MIB, 1000)
        assert len(ended_requests(kept.emulator, route="streams")) <= before + 2
