# SPDX-License-Identifier: Apache-2.0
"""How long a ``stat`` waits for a size that nobody knows yet, and who is not kept waiting again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conftest import MountIt, Serve
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import KeptLibrary, api_calls, status
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{n}.mov", 1000 + n) for n in range(10)]
TIMEOUT_S = 0.4
#: How much silence a `stat` bears by default.
STAT_S = 5.0

_SCAN = """
import json, os, sys, time
found = []
for name in sys.argv[2:]:
    began = time.monotonic()
    try:
        code, size = 0, os.stat(os.path.join(sys.argv[1], name)).st_size
    except OSError as error:
        code, size = error.errno, -1
    found.append((code, size, time.monotonic() - began))
print(json.dumps(found))
"""


class Stat(NamedTuple):
    """One ``stat``: errno or 0, size or -1, and how long it took."""

    errno: int
    size: int
    took_s: float


def scanning(mount: Mount, names: list[str]) -> subprocess.Popen[str]:
    """A process that stats the files one after another."""
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _SCAN, mount.path, *names], stdout=subprocess.PIPE, text=True
    )


def scanned(process: subprocess.Popen[str]) -> list[Stat]:
    """What it met."""
    output, _ = process.communicate(timeout=90)
    return [Stat(*line) for line in json.loads(output)]


@contextlib.contextmanager
def hanging_mount(kept: KeptLibrary, *options: str) -> Iterator[Mount]:
    """A mount none of whose sizes can be found out, until the end."""
    with kept.hanging("streams", "source_file_info"):
        yield kept.mount(*options)


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    return keep(*ASSETS)


@pytest.mark.long
def test_a_scan_is_not_kept_waiting_for_each_file(kept: KeptLibrary) -> None:
    """By default: three times ETIMEDOUT after 5 s, then at once; other processes still wait."""
    names = [str(asset.original_file_name) for asset in ASSETS]
    with hanging_mount(kept) as mount:
        mount.expect_log("ETIMEDOUT|clip-|stat")
        assert sorted(os.listdir(mount.path)) == sorted(names)
        first = scanned(scanning(mount, names))
        assert {found.errno for found in first} == {errno.ETIMEDOUT}
        assert all(STAT_S <= found.took_s < STAT_S + 20 for found in first[:3]), first
        # together: one of them alone may be held up by a busy machine for as long as a wait
        assert sum(found.took_s for found in first[3:]) < STAT_S * len(first[3:]), first
        other = scanned(scanning(mount, names[-1:]))
        assert other[0].errno == errno.ETIMEDOUT
        assert other[0].took_s >= STAT_S, "another process has its own patience"


@pytest.mark.long
def test_a_timeout_that_was_asked_for_holds_each_time(kept: KeptLibrary) -> None:
    """``--stat-timeout``: ETIMEDOUT after that time for each file, however many there are."""
    names = [str(asset.original_file_name) for asset in ASSETS]
    with hanging_mount(kept, "--stat-timeout", "400ms") as mount:
        mount.expect_log("ETIMEDOUT|clip-|stat")
        found = scanned(scanning(mount, names))
    assert {each.errno for each in found} == {errno.ETIMEDOUT}
    assert all(TIMEOUT_S <= each.took_s < TIMEOUT_S + 20 for each in found), found


def test_whoever_waits_gets_the_size_once_it_is_known(kept: KeptLibrary) -> None:
    """Never 0 or a guess: the true size, or an error; and afterwards everything at once."""
    names = [str(asset.original_file_name) for asset in ASSETS]
    with hanging_mount(kept, "--stat-timeout", "20s") as mount:
        waiting = scanning(mount, names[:1])
        wait_until(lambda: "streams" in api_calls(kept.emulator), "the question")
        assert waiting.poll() is None
    assert scanned(waiting)[0][:2] == (0, 1000)
    wait_until(lambda: status(mount)["sizes"]["sized"] == len(ASSETS), "the others")
    assert [found.size for found in scanned(scanning(mount, names))] == [
        1000 + n for n in range(len(ASSETS))
    ]


def test_a_crawl_leaves_the_reserve(serve: Serve, mounted: MountIt) -> None:
    """60 calls in an hour: listing, crawl and a ``stat`` that waits leave a fifth of them."""
    many = [video(f"clip-{n}.mov", 1000 + n) for n in range(100)]
    emulator = serve(*many, rate_limit=60, rate_window_s=3600.0)
    mount = mounted(emulator)
    os.listdir(mount.path)  # so that all of them are wanted soon, not evenly over the hour
    wait_until(lambda: status(mount)["sizes"]["sized"] >= 40, "the crawl to spend its share")
    wait_until(lambda: len(api_calls(emulator)) >= 47, "the rest of it")
    sized = {e.embed_code for e in ended_requests(emulator, route="source")}
    unsized = [str(asset.original_file_name) for asset in many if asset.embed_code not in sized]
    waiting = scanning(mount, unsized[:1])
    wait_until(lambda: len(status(mount)["waiting"]) == 1, "the stat to wait")
    said = status(mount)
    assert said["waiting"][0]["pid"] == waiting.pid
    assert said["waiting"][0]["file"] == unsized[0]
    assert said["waiting"][0]["for"] == "size"
    assert 3000 < said["waiting"][0]["seconds"] <= 3602
    assert 3000 < said["credits"]["more_in_s"] <= 3602
    assert said["credits"]["limit"] in (59, 60)
    assert said["credits"]["credits_left"] >= 11
    # the greeting is not the crawl's
    assert len(api_calls(emulator)) <= 48 + 1
    assert ended_requests(emulator, status=429) == []
    waiting.kill()
    waiting.communicate(timeout=90)


@pytest.mark.long
def test_spent_credits_fail_a_stat_in_time(serve: Serve, mounted: MountIt) -> None:
    """No credit for an hour: ETIMEDOUT within the time that was asked for, and no storm."""
    many = [video(f"clip-{n}.mov", 1000 + n) for n in range(20)]
    emulator = serve(*many, rate_limit=10, rate_window_s=3600.0)
    mount = mounted(emulator, "--stat-timeout", "400ms")
    mount.expect_log("clip-|credits|ETIMEDOUT")
    os.listdir(mount.path)

    def spent() -> bool:
        more_in_s = status(mount)["credits"]["more_in_s"]
        return more_in_s is not None and more_in_s > 600

    wait_until(spent, "the credits to be spent")
    ended_requests(emulator)
    found = scanned(scanning(mount, [str(asset.original_file_name) for asset in many]))
    failed = [each for each in found if each.errno]
    assert len(failed) >= 10
    assert {each.errno for each in failed} == {errno.ETIMEDOUT}
    assert max(each.took_s for each in failed) < TIMEOUT_S + 8
    # Calls under way when the credits seemed to be spent are among them.
    assert len(api_calls(emulator)) <= 10
    assert emulator.requests.count(status=429) == 0
