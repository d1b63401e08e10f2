# SPDX-License-Identifier: Apache-2.0
"""Somebody removes the cache folder, or moves it away, while the library is mounted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    shown,
    status,
    url_calls,
    wait_until_sized,
)
from tests.support.deadlines import wait_until
from tests.support.made_assets import video

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{n}.mov", 5000 + n) for n in range(40)]


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    return keep(*ASSETS)


def remove(cache: Path) -> None:
    """``rm -r``."""
    shutil.rmtree(cache)


def move(cache: Path) -> None:
    """To another name."""
    cache.rename(cache.with_name("moved"))


@pytest.mark.long
@pytest.mark.parametrize("take_away", [remove, move])
def test_it_is_there_again(kept: KeptLibrary, take_away: Callable[[Path], None]) -> None:
    """No operation fails meanwhile; the next mount knows all sizes and URLs, without a call."""
    mount = kept.mount()
    mount.expect_log("while it was in use")
    wait_until_sized(mount)
    before = shown(mount)
    name = kept.catalog.name
    take_away(kept.cache)
    files = [mount.file_of(asset) for asset in ASSETS]

    def look(file: Path) -> bytes:
        os.stat(file)
        return os.getxattr(file, "user.backlot.embed_code")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(look, files)) == [asset.embed_code.encode() for asset in ASSETS]
    kept.refresh(mount)
    wait_until((kept.cache / "catalog" / name).exists, "the catalog's file")
    assert shown(mount) == before
    assert files[0].read_bytes()
    wait_until_sized(mount)
    assert not status(mount)["stale"]
    mount.close()
    kept.emulator.requests.clear()
    again = kept.mount()
    kept.wait_until_checked(again)
    assert shown(again) == before
    assert [url_calls(kept.emulator, asset) for asset in ASSETS] == [0] * len(ASSETS)
