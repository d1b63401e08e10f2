# SPDX-License-Identifier: Apache-2.0
"""The second mount of a library: from the saved catalog, at once, and with next to no API calls."""

from __future__ import annotations

import os
import signal
import time

import pytest

from backlotfs.emulator import Fault
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    api_calls,
    shown,
    status,
    url_calls,
    wait_until_sized,
)
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import START_S, is_mounted
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

ASSETS = [
    *(video(f"clip-{n}.mov", 1000 + n, created_at=1_400_000_000 + n) for n in range(30)),
    video("clip-3.mov", 77, tag="same name", created_at=1_500_000_000),
    video("empty.mov", 0),
    video("Üm läut.mov", 5),
]
#: From the start of the process to the first listing, in a test run that keeps the machine busy.
FIRST_LISTING_S = 20.0


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    return keep(*ASSETS)


def test_the_first_listing_needs_no_call(kept: KeptLibrary) -> None:
    """The API hangs: all the same names, inodes, sizes and times are there, at once."""
    before = kept.fill()
    assert len(before) == len(ASSETS)
    kept.emulator.requests.clear()
    began = time.monotonic()
    with kept.hanging():
        mount = kept.mount()
        assert shown(mount) == before
        assert time.monotonic() - began < FIRST_LISTING_S
        assert len(api_calls(kept.emulator)) <= 1, "the look beside it is one call that hangs"
        assert all(entry.status is None for entry in kept.emulator.requests.entries())
    kept.wait_until_checked(mount)
    assert shown(mount) == before
    assert_same_bytes(mount / "clip-7.mov", ASSETS[7])


@pytest.mark.long
def test_an_idle_remount_costs_three_calls_at_most(kept: KeptLibrary) -> None:
    """One sync of what changed, and an ``ls -l``: nothing is asked about any asset."""
    kept.fill()
    kept.emulator.requests.clear()
    mount = kept.mount()
    kept.wait_until_checked(mount)
    shown(mount)
    shown(mount)
    assert sorted(api_calls(kept.emulator)) == ["assets", "deleted_assets"]
    assert ended_requests(kept.emulator, route="source") == []


def test_what_changed_in_between_is_shown_soon(kept: KeptLibrary) -> None:
    """An upload, a deletion and a replacement between two mounts; what is unchanged stays so."""
    before = kept.fill()
    library = kept.emulator.library
    library.delete(ASSETS[0].embed_code)
    library.replace(ASSETS[1].embed_code, size=4321)
    library.add(video("new.mov", 99, created_at=int(time.time())))
    mount = kept.mount()
    kept.wait_until_checked(mount)
    wait_until(lambda: (mount / "clip-1.mov").stat().st_size == 4321, "the replacement")
    now = shown(mount)
    assert "clip-0.mov" not in now
    assert now["new.mov"][1] == 99
    untouched = before.keys() - {"clip-0.mov", "clip-1.mov"}
    assert {name: now[name] for name in untouched} == {name: before[name] for name in untouched}


def test_killed_and_mounted_again(kept: KeptLibrary) -> None:
    """``kill -9``, ``umount``, mount: nothing learned more than a moment ago is lost."""
    first = kept.mount()
    kept.wait_until_saved(first)
    before = shown(first)
    first.expect_exit(-signal.SIGKILL)
    first.process.kill()
    first.process.wait()
    assert is_mounted(first.path)
    assert commands.run("umount", first.path, home=first.folder).returncode == 0
    kept.emulator.requests.clear()
    second = kept.mount()
    with_api = api_calls(kept.emulator)
    assert shown(second) == before
    kept.wait_until_checked(second)
    assert with_api in ([], ["assets"], ["assets", "deleted_assets"])
    assert not any(url_calls(kept.emulator, asset) for asset in ASSETS)


def test_sizing_goes_on_after_an_early_end(kept: KeptLibrary) -> None:
    """Unmounted before the sizes were known: the next mount asks for them by itself, each once."""
    with kept.hanging("streams", "source_file_info") as rules:
        first = kept.mount()
        kept.emulator.requests.wait_for(lambda _log: any(rule.hits for rule in rules))
        first.close()
    kept.emulator.requests.clear()
    mount = kept.mount()
    wait_until_sized(mount)
    assert [url_calls(kept.emulator, asset) for asset in ASSETS] == [1] * len(ASSETS)


def test_sizing_goes_on_after_a_kill(kept: KeptLibrary) -> None:
    """The same after ``kill -9``: nobody is left who would do it."""
    with kept.hanging("streams", "source_file_info") as rules:
        first = kept.mount()
        kept.emulator.requests.wait_for(lambda _log: any(rule.hits for rule in rules))
        first.expect_exit(-signal.SIGKILL)
        first.process.kill()
        first.process.wait()
        assert commands.run("umount", first.path, home=first.folder).returncode == 0
    wait_until_sized(kept.mount())


@pytest.mark.long
@pytest.mark.parametrize("turn", range(2))
def test_it_ends_while_much_news_is_told(keep: Keep, turn: int) -> None:
    """SIGTERM while the kernel is told of 1500 changes: exit code 0, no crash (a race: 2 tries)."""
    many = [video(f"clip-{n}.mov", 10) for n in range(1500)]
    kept = keep(*many)
    mount = kept.mount()
    os.listdir(mount.path)
    for asset in many:
        kept.emulator.library.edit(asset.embed_code, title="Another title")
    kept.refresh(mount, full=True)
    assert mount.terminate() == 0


@pytest.mark.parametrize("ending", ["failed", "killed"])
def test_an_interrupted_first_listing_goes_on(keep: Keep, ending: str) -> None:
    """Page 3 fails or hangs; the next mount does not ask for pages 1 and 2 again."""
    kept = keep(*ASSETS, page_cap=7)
    pages = -(-len(ASSETS) // 7)
    first = kept.unstarted()
    if ending == "failed":
        # the greeting and two pages are answered
        kept.emulator.faults.add(Fault.status(400), route="assets", skip=3, times=1)
        first.expect_exit(1)
        first.expect_log("backlotfs: ")
        first.launch().process.wait(START_S)
    else:
        first.expect_exit(-signal.SIGKILL)
        with kept.hanging("assets", skip=3) as (rule,):
            first.launch()
            kept.emulator.requests.wait_for(lambda _log: rule.hits > 0)
            first.process.kill()
            first.process.wait()
    first.close()
    kept.emulator.requests.clear()
    mount = kept.mount()
    assert len(os.listdir(mount.path)) == len(ASSETS)
    # the greeting, the other pages, and a look at what changed since the first of them
    assert api_calls(kept.emulator).count("assets") <= 1 + (pages - 2) + 1
    assert status(mount)["assets"] == len(ASSETS)


def test_a_rotated_key_loses_nothing(kept: KeptLibrary) -> None:
    """Another key and secret of the same account, the same server: the saved catalog is its."""
    before = kept.fill()
    account = kept.emulator.api_key.partition(".")[0]
    kept.restart(api_key=f"{account}.newer", api_secret="n" * 40)
    mount = kept.mount()
    kept.wait_until_checked(mount)
    assert shown(mount) == before
    assert sorted(api_calls(kept.emulator)) == ["assets", "deleted_assets"]


def test_another_account_has_its_own_catalog(kept: KeptLibrary) -> None:
    """The same server and cache folder: nothing of the first account is shown."""
    kept.fill()
    kept.restart(api_key="x" * 28 + ".12345")
    kept.emulator.library.delete(ASSETS[0].embed_code)
    mount = kept.mount()
    assert len(os.listdir(mount.path)) == len(ASSETS) - 1
    assert len(list((kept.cache / "catalog").glob("*.sqlite3"))) == 2
