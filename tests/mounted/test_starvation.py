"""One bad source does not spoil the others."""

from __future__ import annotations

import time

import pytest

from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.stalled_readers import readers, stall_source, wait_until_stalled

pytestmark = pytest.mark.mounted


def test_sixteen_stalled_readers_leave_another_file_readable(
    serve: Serve, mounted: MountIt
) -> None:
    """16 readers hang in one file; another, unread one arrives whole in less than 2 s."""
    bad, good = video("bad.mov", 64 * MIB), video("good.mov", 8 * MIB)
    emulator = serve(bad, good)
    mount = mounted(emulator)
    mount.file_of(bad).stat()
    rule = stall_source(emulator, bad)
    with readers(mount.file_of(bad), [number * 4 * MIB for number in range(16)]):
        wait_until_stalled(emulator, bad, 16)
        began = time.monotonic()
        assert_same_bytes(mount.file_of(good), good)
        assert time.monotonic() - began < 2.0
        rule.release()
