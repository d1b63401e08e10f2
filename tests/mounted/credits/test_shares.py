# SPDX-License-Identifier: Apache-2.0
"""Mounts with shares of one account, each with a cache folder of its own, as on a farm.

A window lasts 6 s in place of 60 s; the limit is the API's own 300 calls.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from backlotfs.mount.control.client import ask
from tests.conftest import Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import calls_by_window, ended_requests

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(200)]

WINDOW_S = 6.0
MOUNTS = 3
#: Of 300 calls.
SHARE, CALLS = "1/10", 30
ASSETS = [video(f"clip-{number:03d}.mov", 2000 + number) for number in range(45)]
LIFE_S = 180.0


def mounts(emulator: Emulator, folder: Path, count: int, share: str) -> Iterator[Mount]:
    """Mounts that start one after the other."""
    with ExitStack() as stack:
        for number in range(count):
            place = folder / f"machine-{number}"
            place.mkdir(mode=0o700)
            options = ("--cache-dir", str(place / "cache"), "--cache-size=0", "--api-share", share)
            yield stack.enter_context(Mount(emulator, place, *options, life_s=LIFE_S))


def is_sized(mount: Mount) -> bool:
    """Whether it knows every size."""
    return bool(ask(mount.path, "status")["sizes"]["sized"] == len(ASSETS))


def is_spent(mount: Mount) -> bool:
    """Whether a program has to wait for its next call."""
    return ask(mount.path, "status")["credits"]["more_in_s"] is not None


def test_mounts_of_one_account_keep_within_their_shares(serve: Serve, tmp_path: Path) -> None:
    """Each finds all sizes; together they never make more calls in a window than they may."""
    emulator = serve(*ASSETS, rate_limit=300, rate_window_s=WINDOW_S)
    farm = []
    for mount in mounts(emulator, tmp_path, MOUNTS, SHARE):
        farm.append(mount)
        if len(farm) < MOUNTS:
            continue
        credits = ask(mount.path, "status")["credits"]
        assert (credits["share"], credits["limit"]) == (CALLS, 300)
        assert 0 <= credits["share_left"] <= CALLS
        for one in farm:
            wait_until(lambda one=one: is_sized(one), "all sizes", timeout_s=90)  # type: ignore[misc]  # bound now
            assert_same_bytes(one / "clip-000.mov", ASSETS[0])
        windows = calls_by_window(emulator, WINDOW_S)
        assert max(windows.values()) <= MOUNTS * CALLS
        assert sum(windows.values()) >= MOUNTS * len(ASSETS), "each has asked for each size"
        assert ended_requests(emulator, status=429) == []


@pytest.mark.long
def test_three_calls_a_window(serve: Serve, tmp_path: Path) -> None:
    """A hundredth of the account is slow, but all is read; ``status`` says when there is more."""
    few = ASSETS[:4]
    emulator = serve(*few, rate_limit=300, rate_window_s=WINDOW_S)
    for mount in mounts(emulator, tmp_path, 1, "1%"):
        (tmp_path / "copy").mkdir()
        names = sorted(os.listdir(mount.path))
        with subprocess.Popen(["cp", *(mount / name for name in names), tmp_path / "copy"]) as copy:
            wait_until(partial(is_spent, mount), "the share to be spent")
            credits = ask(mount.path, "status")["credits"]
            assert (credits["share"], credits["limit"]) == (3, 300)
            assert credits["more_in_s"] is None or credits["more_in_s"] <= 2 * WINDOW_S + 2
            assert credits["credits_left"] > 250, "the account has many left, for others"
            assert copy.wait(150) == 0
        for asset in few:
            assert_same_bytes(tmp_path / "copy" / str(asset.original_file_name), asset)
        assert max(calls_by_window(emulator, WINDOW_S).values()) <= 3
        assert ended_requests(emulator, status=429) == []
