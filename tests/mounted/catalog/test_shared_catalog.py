# SPDX-License-Identifier: Apache-2.0
"""Several mounts of one library at once, on one catalog: all right, and one does the work."""

from __future__ import annotations

import os

import pytest

from backlotfs.emulator import EmulatedLabel, Fault
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    api_calls,
    ask_for_refresh,
    shown,
    uploaded,
    url_calls,
    wait_until_sized,
)
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import is_mounted

pytestmark = pytest.mark.mounted

SPORTS = EmulatedLabel("a" * 32, "Sports")
ASSETS = [
    *(video(f"clip-{n}.mov", 1000 + n, created_at=1_400_000_000 + 1000 * n) for n in range(12)),
    video("goal.mov", 50, created_at=1_400_000_000, label_ids=(SPORTS.label_id,)),
    video("newest.mov", 60, created_at=1_500_000_000),
]
#: Another mount's news is shown this much later at most, and a little for a busy machine.
NEWS_S = 40.0


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    found = keep(*ASSETS)
    found.emulator.library.put_label(SPORTS)
    return found


def test_two_first_mounts_at_once(keep: Keep) -> None:
    """Neither shows less than the whole library; the pages are asked for once, each size too."""
    kept = keep(*ASSETS, page_cap=3)
    pages = -(-len(ASSETS) // 3)
    kept.emulator.faults.add(Fault.delay(0.2), route="assets")  # so that one meets the other's walk
    both = [kept.unstarted(), kept.unstarted()]
    try:
        for mount in both:
            mount.launch()
        for mount in both:
            wait_until(lambda mount=mount: is_mounted(mount.path), "the mount")  # type: ignore[misc]  # bound now
            assert len(os.listdir(mount.path)) == len(ASSETS)
        first, second = (shown(mount) for mount in both)
        assert first == second
        for mount in both:
            assert_same_bytes(mount / "clip-5.mov", ASSETS[5])
        calls = api_calls(kept.emulator)
        assert calls.count("assets") <= 2 + pages + 2, "two greetings, one walk, two looks at most"
        assert sum(url_calls(kept.emulator, asset) for asset in ASSETS) <= 2 * len(ASSETS)
    finally:
        for mount in both:
            mount.close()


def test_one_mounts_news_is_the_others(kept: KeptLibrary) -> None:
    """What one syncs and sizes, the other shows within seconds, and asks nothing for it."""
    first = kept.mount()
    wait_until_sized(first)
    second = kept.mount()
    kept.wait_until_checked(second)
    kept.emulator.requests.clear()
    library = kept.emulator.library
    new = library.add(uploaded("new.mov", 321))
    library.delete(ASSETS[0].embed_code)
    absent = second.file_of(new)
    assert not absent.exists()
    ask_for_refresh(first)
    wait_until(lambda: new.original_file_name in os.listdir(first.path), "the upload, here")
    assert first.file_of(new).stat().st_size == 321
    wait_until(
        lambda: new.original_file_name in os.listdir(second.path), "and there", timeout_s=NEWS_S
    )
    wait_until(absent.exists, "the name to be known there")
    assert shown(second) == shown(first)
    calls = api_calls(kept.emulator)
    assert (calls.count("assets"), calls.count("deleted_assets")) == (1, 1)
    assert url_calls(kept.emulator, new) <= 2


@pytest.mark.long
def test_a_replacement_is_seen_by_both(kept: KeptLibrary) -> None:
    """One syncs and finds other bytes; the other's size, time and bytes are the new ones, too."""
    first, second = kept.mount(), kept.mount()
    for mount in (first, second):
        assert_same_bytes(mount / "clip-3.mov", ASSETS[3])
    new = kept.emulator.library.replace(ASSETS[3].embed_code, size=99)
    ask_for_refresh(first)
    for mount in (first, second):
        wait_until(
            lambda mount=mount: (mount / "clip-3.mov").stat().st_size == 99,  # type: ignore[misc]  # bound now
            "the new size",
            timeout_s=NEWS_S,
        )
        assert_same_bytes(mount / "clip-3.mov", new)


def test_labels_after_a_mount_that_needed_none(kept: KeptLibrary) -> None:
    """A catalog that was filled by a flat mount has no labels: a mount by labels gets them."""
    kept.fill()
    mount = kept.mount("--layout", "labels")
    wait_until(lambda: (mount / "Sports").is_dir(), "the label")
    wait_until(lambda: os.listdir(mount / "Sports") == ["goal.mov"], "the asset in it")
    wait_until(lambda: not (mount / "Unlabeled" / "goal.mov").exists(), "it only there")


def test_labels_beside_a_mount_that_needs_none(kept: KeptLibrary) -> None:
    """A flat mount's full walk, which asks for no labels, takes none away."""
    labelled = kept.mount("--layout", "labels")
    assert os.listdir(labelled / "Sports") == ["goal.mov"]
    flat = kept.mount()
    kept.refresh(flat, full=True)
    ask_for_refresh(labelled)
    wait_until(lambda: "sign-1" in os.listdir(labelled / "Unlabeled"), "the walk", timeout_s=NEWS_S)
    assert os.listdir(labelled / "Sports") == ["goal.mov"]
