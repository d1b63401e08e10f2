# SPDX-License-Identifier: Apache-2.0
"""One bad source does not spoil the others."""

from __future__ import annotations

import time

import pytest

from backlotfs.config.time_limits import STALL_TIMEOUT_S
from backlotfs.fetch.hosts import MIN_WIDTH, URGENT_EXTRA
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.stalled_readers import (
    readers,
    stall_source,
    wait_until_reading,
    wait_until_stalled,
)

pytestmark = pytest.mark.mounted

#: GETs of one source at a time that readers wait for, on the narrowest line.
LANE = MIN_WIDTH + URGENT_EXTRA


def test_sixteen_stalled_readers_leave_another_file_readable(
    serve: Serve, mounted: MountIt
) -> None:
    """16 readers hang in one file, which is more requests than the kernel has under way untold.

    Another, unread file arrives whole long before the first of them is given up.
    """
    bad, good = video("bad.mov", 64 * MIB), video("good.mov", 8 * MIB)
    emulator = serve(bad, good)
    mount = mounted(emulator)
    mount.file_of(bad).stat()
    rule = stall_source(emulator, bad)
    with readers(mount.file_of(bad), [number * 4 * MIB for number in range(16)]) as started:
        wait_until_reading(mount.file_of(bad), started)
        wait_until_stalled(emulator, bad, LANE)  # the others wait for a place behind these
        began = time.monotonic()
        assert_same_bytes(mount.file_of(good), good)
        assert time.monotonic() - began < STALL_TIMEOUT_S
        rule.release()
