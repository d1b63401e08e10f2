# SPDX-License-Identifier: Apache-2.0
"""Signed URLs over restarts: a mount asks for none that an earlier one got and that still lives."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from backlotfs.emulator import EmulatedAsset
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import KeptLibrary, url_calls, wait_until_sized
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import KIB, video
from tests.support.mounting import END_S, Mount, detach

pytestmark = pytest.mark.mounted

#: Every read is a request to the source host.
UNCACHED = ("--cache-size", "0")
FEW = [video(f"clip-{n}.mov", 4 * KIB + n) for n in range(10)]


def read_all(mount: Mount, assets: Sequence[EmulatedAsset]) -> None:
    """Each file whole, compared byte for byte."""
    for asset in assets:
        assert_same_bytes(mount.file_of(asset), asset)


def calls_for_urls(kept: KeptLibrary) -> int:
    """So far; each costs a credit."""
    count = kept.emulator.requests.count
    return count(route="streams") + count(route="source_file_info")


def urls_in(kept: KeptLibrary) -> int:
    """How many the next mount would begin with."""
    if not kept.urls.exists():
        return 0
    with closing(sqlite3.connect(kept.urls)) as connection:
        query = "SELECT count(*) FROM presigned_url WHERE url IS NOT NULL AND expires_at_s > ?"
        (count,) = connection.execute(query, (time.time(),)).fetchone()
    return int(count)


def test_a_remount_reads_everything_without_a_call_for_urls(keep: Keep) -> None:
    """300 files under the API's own limit, which the first mount has used up."""
    assets = [video(f"clip-{n:03}.mov", 4 * KIB + n) for n in range(300)]
    kept = keep(*assets, rate_limit=450, rate_window_s=3600.0)
    mount = kept.mount(*UNCACHED)
    read_all(mount, assets)
    assert calls_for_urls(kept) == 300
    mount.close()
    again = kept.mount(*UNCACHED)
    read_all(again, assets)
    assert kept.emulator.requests.count(route="source") >= 600
    assert calls_for_urls(kept) == 300


def test_a_killed_mount_has_kept_them(keep: Keep) -> None:
    """SIGKILL: what was written before is there, and the file is sound."""
    kept = keep(*FEW)
    mount = kept.mount(*UNCACHED)
    read_all(mount, FEW)
    wait_until(lambda: urls_in(kept) == len(FEW), "the URLs to be written")
    mount.expect_exit(-signal.SIGKILL)
    mount.process.kill()
    mount.process.wait(END_S)
    detach(mount.path)
    before = calls_for_urls(kept)
    again = kept.mount(*UNCACHED)
    read_all(again, FEW)
    assert calls_for_urls(kept) == before


@pytest.mark.long
def test_a_url_that_died_meanwhile_is_renewed(keep: Keep) -> None:
    """Nobody who reads notices; the one that the host refused is not kept."""
    kept = keep(*FEW)
    mount = kept.mount(*UNCACHED)
    read_all(mount, FEW)
    mount.close()
    kept.emulator.expire_urls()
    before = calls_for_urls(kept)
    again = kept.mount(*UNCACHED)
    read_all(again, FEW)
    again.close()
    assert calls_for_urls(kept) == before + len(FEW)
    last = kept.mount(*UNCACHED)
    read_all(last, FEW)
    assert calls_for_urls(kept) == before + len(FEW)


@pytest.mark.parametrize("seen_by_another", [False, True])
def test_a_source_replaced_between_two_mounts(keep: Keep, *, seen_by_another: bool) -> None:
    """Its host keeps the old object where it was: the kept URL would go on giving the old bytes.

    With ``seen_by_another`` a mount that keeps no URLs learns of the change first, so that the next
    one hears of no news about it.
    """
    kept = keep(*FEW)
    reel = FEW[3]
    mount = kept.mount(*UNCACHED)
    wait_until_sized(mount)
    mount.close()
    assert urls_in(kept) == len(FEW)
    replaced = kept.emulator.library.replace(reel.embed_code, size=9 * KIB, keep_old=True)
    if seen_by_another:
        with kept.hanging("streams", "source_file_info"):
            other = kept.mount("--no-keep-urls", *UNCACHED)
            kept.wait_until_checked(other)
            other.close()
    again = kept.mount(*UNCACHED)
    wait_until(lambda: again.file_of(reel).stat().st_size == 9 * KIB, "the news of the source")
    assert_same_bytes(again.file_of(reel), replaced)
    before = [url_calls(kept.emulator, asset) for asset in FEW]
    read_all(again, [asset for asset in FEW if asset is not reel])
    assert [url_calls(kept.emulator, asset) for asset in FEW] == before, "the others' are good"


@pytest.mark.parametrize("seen_by_another", [False, True])
def test_a_source_replaced_while_its_asset_was_not_presented(
    keep: Keep, *, seen_by_another: bool
) -> None:
    """Its return is no change of a presented record, and the old URL gives the old bytes.

    With ``seen_by_another`` a mount that keeps no URLs has seen it go: the file still has its URL.
    """
    kept = keep(*FEW)
    reel = FEW[3]
    mount = kept.mount("--include-status", "live", *UNCACHED)
    wait_until_sized(mount)
    if seen_by_another:
        mount.close()
        mount = kept.mount("--no-keep-urls", "--include-status", "live", *UNCACHED)
    kept.emulator.library.edit(reel.embed_code, status="paused")
    kept.refresh(mount)
    wait_until(lambda: not mount.file_of(reel).exists(), "the asset to go", timeout_s=90)
    if seen_by_another:
        mount.close()
        mount = kept.mount("--include-status", "live", *UNCACHED)
    replaced = kept.emulator.library.replace(reel.embed_code, size=9 * KIB, keep_old=True)
    kept.emulator.library.edit(reel.embed_code, status="live")
    kept.refresh(mount)
    wait_until(lambda: mount.file_of(reel).exists(), "the asset to come back", timeout_s=90)
    assert_same_bytes(mount.file_of(reel), replaced)


@pytest.mark.long
def test_forgetting(keep: Keep) -> None:
    """The file is gone; with --no-keep-urls it stays away, and by default it is made anew."""
    kept = keep(*FEW)
    kept.fill(*UNCACHED)
    assert urls_in(kept) == len(FEW)
    mount = kept.mount("--forget-urls", "--no-keep-urls")
    assert not kept.urls.exists()
    mount.close()
    assert not kept.urls.exists()
    kept.fill(*UNCACHED)
    again = kept.mount("-o", "forget_urls")
    assert urls_in(kept) == 0
    before = calls_for_urls(kept)
    read_all(again, FEW)
    assert calls_for_urls(kept) == before + len(FEW)


@pytest.mark.long
def test_two_mounts_at_once(keep: Keep) -> None:
    """Both write to the file; whatever one has asked for, neither asks for after a restart."""
    kept = keep(*FEW)
    one = kept.mount(*UNCACHED)
    two = kept.mount(*UNCACHED)
    read_all(one, FEW[:6])
    read_all(two, FEW[4:])
    one.close()
    two.close()
    assert urls_in(kept) == len(FEW)
    before = calls_for_urls(kept)
    again = kept.mount(*UNCACHED)
    read_all(again, FEW)
    assert calls_for_urls(kept) == before


@pytest.mark.long
def test_a_damaged_file_costs_calls_alone(keep: Keep) -> None:
    """One line in the log, right bytes, and a new file."""
    kept = keep(*FEW)
    kept.fill(*UNCACHED)
    kept.urls.write_bytes(b"\0" * 50_000)
    mount = kept.mount(*UNCACHED)
    mount.expect_log("saved URLs in .* the file was removed")
    read_all(mount, FEW)
    mount.close()
    assert mount.log_text().count("the file was removed") == 1
    assert urls_in(kept) == len(FEW)
