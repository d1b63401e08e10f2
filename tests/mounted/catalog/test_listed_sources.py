# SPDX-License-Identifier: Apache-2.0
"""A server that puts sources into its listings: sizes and URLs come with them, for no call each."""

from __future__ import annotations

import os

import pytest

from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    ask_for_refresh,
    uploaded,
    url_calls,
    wait_until_sized,
)
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import video

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{n}.mov", 5000 + n, created_at=1_400_000_000 + n) for n in range(30)]


@pytest.mark.parametrize("lists", few_of([True, False], True))
def test_no_call_for_a_url(keep: Keep, lists: bool) -> None:
    """Neither for the library, nor for uploads while it is mounted and after a re-mount."""
    kept = keep(*ASSETS, lists_sources=lists, rate_limit=300)
    first = kept.mount()
    wait_until_sized(first)
    during, after = uploaded("during.mov", 7000), uploaded("after.mov", 8000)
    kept.emulator.library.add(during)
    ask_for_refresh(first)
    wait_until(lambda: "during.mov" in os.listdir(first.path), "the first upload")
    for asset in (*ASSETS, during):
        assert_same_bytes(first.file_of(asset), asset)
    first.close()
    kept.emulator.library.add(after)
    second = kept.mount()
    wait_until(lambda: "after.mov" in os.listdir(second.path), "the second upload")
    assert_same_bytes(second.file_of(after), after)
    calls = sum(url_calls(kept.emulator, asset) for asset in (*ASSETS, during, after))
    assert calls == (0 if lists else len(ASSETS) + 2)
