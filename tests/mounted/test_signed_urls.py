# SPDX-License-Identifier: Apache-2.0
"""The life of a signed URL: nothing of it is seen by whoever reads, nothing of it is logged."""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backlotfs.emulator import Fault
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_pread, assert_same_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

LIFETIME_S = 2
PACED_S = 30
STEPS_PER_S = 4
READERS = 32


@pytest.mark.long
def test_a_paced_read_outlives_many_urls(serve: Serve, mounted: MountIt) -> None:
    """URLs live 2 s, a read takes 30 s: right bytes, no error, about one new URL per life."""
    step = 256 * KIB
    reel = video("reel.mov", PACED_S * STEPS_PER_S * step)
    emulator = serve(reel, url_lifetime_s=LIFETIME_S)
    # Little memory, so that the origin is asked all the time instead of once for everything.
    mount = mounted(emulator, "--memory", "4M")
    began = time.monotonic()
    descriptor = os.open(mount.file_of(reel), os.O_RDONLY)
    try:
        for number in range(PACED_S * STEPS_PER_S):
            assert_pread(descriptor, reel, number * step, step)
            # The pace is what is tested: time has to pass for URLs to die of it.
            time.sleep(max(0.0, began + (number + 1) / STEPS_PER_S - time.monotonic()))
    finally:
        os.close(descriptor)
    took_s = time.monotonic() - began
    assert took_s >= PACED_S - 0.5
    renewals = len(ended_requests(emulator, route="streams"))
    # The emulator rounds an expiry up to whole seconds, and a quarter of a life is kept in reserve.
    assert took_s / (LIFETIME_S + 1) - 2 <= renewals <= took_s / (LIFETIME_S * 0.75) + 2
    assert ended_requests(emulator, route="source_file_info") == []


def test_32_readers_of_an_expired_url_cause_one_refresh(serve: Serve, mounted: MountIt) -> None:
    """All at once, each at another place, every URL dead: one call of the API, right bytes."""
    reel = video("reel.mov", READERS * 2 * MIB)
    emulator = serve(reel)
    mount = mounted(emulator)
    descriptor = os.open(mount.file_of(reel), os.O_RDONLY)
    gate = threading.Barrier(READERS)

    def read(number: int) -> None:
        gate.wait(20)
        assert_pread(descriptor, reel, number * 2 * MIB + MIB, 64 * KIB)

    try:
        assert_pread(descriptor, reel, 0, 4096)
        before = len(ended_requests(emulator, route="streams"))
        emulator.expire_urls()
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(read, range(READERS)))
    finally:
        os.close(descriptor)
    assert len(ended_requests(emulator, route="streams")) - before == 1
    assert ended_requests(emulator, route="source_file_info") == []
    assert len(ended_requests(emulator, route="source", status=403)) >= 1


def test_the_log_holds_no_secret_and_no_signature(serve: Serve, mounted: MountIt) -> None:
    """At --log-level debug, through expiry, refusal and a dead end."""
    reel, bad = video("reel.mov", 3 * MIB), video("bad.mov", 3 * MIB)
    emulator = serve(reel, bad)
    mount = mounted(emulator, "--log-level", "debug")
    mount.expect_log(r"Traceback|EACCES|EIO")
    assert_same_bytes(mount.file_of(reel), reel)
    mount.file_of(bad).stat()
    emulator.expire_urls()
    for fault, error in (
        (Fault.of("access_denied"), "Permission denied"),
        (Fault.redirect(emulator.source_url(bad.embed_code)), "Input/output error"),
    ):
        rule = emulator.faults.add(fault, route="source", embed_code=bad.embed_code)
        with pytest.raises(OSError, match=error):
            mount.file_of(bad).read_bytes()
        emulator.faults.remove(rule)
    assert_same_bytes(mount.file_of(bad), bad)
    mount.terminate()
    log = mount.log_text()
    assert "DEBUG" in log
    assert emulator.api_secret not in log
    assert emulator.settings.source_secret not in log
    assert emulator.settings.source_key_id not in log
    assert not re.search(r"(?i)signature(=|%3d)(?!<redacted>)", log)
