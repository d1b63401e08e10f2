# SPDX-License-Identifier: Apache-2.0
"""What the kernel remembers of a mount, and what is taken back from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    api_calls,
    ask_for_refresh,
    shown,
    wait_until_sized,
)
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{n}.mov", 1000 + n, created_at=1_400_000_000 + 1000 * n) for n in range(40)]
#: Long enough for a loaded machine; an answer that needs the stopped process never comes.
PATIENCE_S = 30.0
NOISE = [
    *("._clip-1.mov", "._.", ".DS_Store", "Thumbs.db", "desktop.ini", ".Trash-1000", ".Trash"),
    *("autorun.inf", ".hidden", ".git", "System Volume Information", ".nfs000000000001"),
]

_STAT = "import os, sys; print(*[os.stat(path).st_size for path in sys.argv[1:]])"


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    return keep(*ASSETS)


@contextlib.contextmanager
def stopped(mount: Mount) -> Iterator[None]:
    """The process of the mount is stopped: whatever the kernel answers now, it remembers."""
    mount.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        mount.process.send_signal(signal.SIGCONT)


def sizes_without_the_mount(mount: Mount, names: list[str]) -> list[int]:
    """Sizes that the kernel knows by itself; by another process, which can be killed.

    :raises subprocess.TimeoutExpired: it asks the mount.
    """
    paths = [str(mount / name) for name in names]
    with stopped(mount):
        done = subprocess.run(
            [sys.executable, "-S", "-c", _STAT, *paths],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("start", ["first mount", "saved catalog"])
def test_a_second_stat_asks_nobody(kept: KeptLibrary, start: str) -> None:
    """After an ``ls -l`` the kernel knows every size by itself."""
    if start == "saved catalog":
        kept.fill()
    mount = kept.mount()
    wait_until_sized(mount)
    if start == "saved catalog":
        kept.wait_until_checked(mount)
    sizes = {name: row[1] for name, row in shown(mount).items()}
    assert len(sizes) == len(ASSETS)
    assert sizes_without_the_mount(mount, list(sizes)) == list(sizes.values())


def test_a_sync_takes_back_only_what_changed(kept: KeptLibrary) -> None:
    """One replaced, one edited, one uploaded: all others are remembered as before."""
    mount = kept.mount()
    wait_until_sized(mount)
    shown(mount)
    library = kept.emulator.library
    library.replace(ASSETS[3].embed_code, size=77)
    library.edit(ASSETS[4].embed_code, title="Another title")
    kept.refresh(mount)
    wait_until(lambda: mount.file_of(ASSETS[3]).stat().st_size == 77, "the new size")
    others = [str(asset.original_file_name) for asset in [*ASSETS[:3], *ASSETS[5:]]]
    assert sizes_without_the_mount(mount, others) == [
        1000 + n for n in range(len(ASSETS)) if n not in (3, 4)
    ]


def test_a_deletion_is_taken_back(kept: KeptLibrary) -> None:
    """Remembered for an hour, and still ENOENT a moment after the sync; also in a saved catalog."""
    kept.fill()
    mount = kept.mount()
    kept.wait_until_checked(mount)
    shown(mount)
    kept.emulator.library.delete(ASSETS[5].embed_code)
    ask_for_refresh(mount)
    wait_until(lambda: not mount.file_of(ASSETS[5]).exists(), "the deletion")


def test_names_that_nobody_has_cost_no_call(kept: KeptLibrary) -> None:
    """However old the listing is, as file and as folder, looked up and opened."""
    mount = kept.mount("--metadata-ttl", "0s")
    wait_until_sized(mount)
    kept.emulator.requests.clear()
    for name in [*NOISE, "absent.mov"]:
        for path in (mount / name, mount / name / "info", mount / "clip-1.mov" / name):
            assert not os.path.lexists(path)
            with pytest.raises(OSError, match=r"No such file|Not a directory"):
                os.open(path, os.O_RDONLY)
    assert api_calls(kept.emulator) == []
