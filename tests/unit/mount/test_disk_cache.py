# SPDX-License-Identifier: Apache-2.0
"""The disk cache of a mount: who waits for it, and for whom."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.cache.disk.tier import DiskTier
from backlotfs.config.settings import Account, MountSettings
from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry
from backlotfs.mount import disk_cache
from backlotfs.mount.disk_cache import ENDING_S, holder_at, open_disk_tier
from tests.fakes.clocks import ManualClock

MIB = 1 << 20


class EndingClock(ManualClock):
    """Closes a disk cache after a number of sleeps."""

    def __init__(self, tier: DiskTier, sleeps: int) -> None:
        super().__init__()
        self._tier, self._sleeps = tier, sleeps

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if len(self.slept_s) == self._sleeps:
            self._tier.close()


@pytest.fixture
def settings(tmp_path: Path) -> MountSettings:
    """Of a mount with a disk cache of its own size."""
    account = Account("http://api", "key", "secret")
    return MountSettings(account, tmp_path / "library", tmp_path / "cache", cache_bytes=64 * MIB)


@pytest.fixture
def holder(settings: MountSettings) -> Iterator[DiskTier]:
    """The cache, in use by another mount."""
    tier = open_disk_tier(settings, ManualClock())
    assert tier is not None
    yield tier
    tier.close()


def use(settings: MountSettings, clock: ManualClock) -> bool:
    """Whether a mount gets the disk cache now."""
    tier = open_disk_tier(settings, clock)
    if tier is not None:
        tier.close()
    return tier is not None


def mounted(monkeypatch: pytest.MonkeyPatch, *mountpoints: Path) -> None:
    """These are all mounts of backlotfs."""
    entries = [MountEntry(str(one), FUSE_TYPE, "backlot:main", frozenset()) for one in mountpoints]
    monkeypatch.setattr(disk_cache, "our_mounts", lambda: entries)


@pytest.mark.parametrize("name", ["library", "my library", "b\udcfccher", "bücher"])
def test_a_mount_waits_for_one_that_was_unmounted(
    settings: MountSettings, holder: DiskTier, tmp_path: Path, name: str
) -> None:
    """As long as that one takes to close its cache."""
    holder.name_holder(holder_at(tmp_path / name))
    clock = EndingClock(holder, 20)
    assert use(settings, clock)
    assert len(clock.slept_s) == 20


def test_it_does_not_wait_for_ever(
    settings: MountSettings, holder: DiskTier, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it goes on without a disk cache, and says so; both are said once."""
    holder.name_holder(holder_at(settings.mountpoint))
    clock = ManualClock()
    with caplog.at_level(logging.INFO, "backlotfs"):
        assert not use(settings, clock)
    assert sum(clock.slept_s) == pytest.approx(ENDING_S, abs=0.1)
    levels = [(one.levelname, "waiting" in one.getMessage()) for one in caplog.records]
    assert levels == [("INFO", True), ("WARNING", False)]


def test_a_mount_that_is_there_is_not_waited_for(
    settings: MountSettings,
    holder: DiskTier,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Whatever else is mounted."""
    holder.name_holder(holder_at(tmp_path / "other"))
    mounted(monkeypatch, tmp_path / "third", tmp_path / "other")
    clock = ManualClock()
    assert not use(settings, clock)
    assert clock.slept_s == []


@pytest.mark.parametrize(
    "text",
    ["", "/mnt/library", "1 2 /mnt/library", "nonsense", " ", "x" * 10_000],
    ids=["starting", "a path", "another system", "nonsense", "blank", "long"],
)
def test_a_holder_of_which_nothing_is_known_is_not_waited_for(
    settings: MountSettings, holder: DiskTier, text: str
) -> None:
    """A mount that starts, a program without a mount, a container, another machine on NFS."""
    holder.name_holder(text)
    clock = ManualClock()
    assert not use(settings, clock)
    assert clock.slept_s == []


def test_without_a_proc_nothing_is_known(
    settings: MountSettings, holder: DiskTier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A mount writes nothing, and waits for nobody."""
    text = holder_at(settings.mountpoint)
    monkeypatch.setattr(disk_cache, "_BOOT", tmp_path / "missing")
    assert holder_at(settings.mountpoint) == ""
    holder.name_holder(text)
    clock = ManualClock()
    assert not use(settings, clock)
    assert clock.slept_s == []


def test_a_name_does_not_outlive_its_mount(settings: MountSettings, holder: DiskTier) -> None:
    """The next one has not named itself yet."""
    holder.name_holder(holder_at(settings.mountpoint))
    holder.close()
    second = open_disk_tier(settings, ManualClock())
    assert second is not None
    clock = ManualClock()
    assert not use(settings, clock)
    assert clock.slept_s == []
    second.close()


def test_a_shorter_name_replaces_a_longer_one(
    settings: MountSettings, holder: DiskTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the longer one is left."""
    holder.name_holder(holder_at(tmp_path / "a-long-name"))
    holder.name_holder(holder_at(tmp_path / "a"))
    mounted(monkeypatch, tmp_path / "a")
    clock = ManualClock()
    assert not use(settings, clock)
    assert clock.slept_s == []


def test_a_folder_that_was_made_again_has_the_name_too(
    settings: MountSettings, holder: DiskTier
) -> None:
    """The lock file is a new one."""
    holder.name_holder(holder_at(settings.mountpoint))
    (folder,) = (settings.cache_dir / "blocks").iterdir()
    folder.rename(folder.with_name("removed"))
    holder.remake_if_removed()
    clock = EndingClock(holder, 3)
    assert use(settings, clock)
    assert len(clock.slept_s) == 3


def test_a_signal_ends_the_wait(settings: MountSettings, holder: DiskTier) -> None:
    """A mount blocks signals before it opens the cache, and serves them later."""
    holder.name_holder(holder_at(settings.mountpoint))
    clock = ManualClock()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        signal.raise_signal(signal.SIGTERM)
        assert not use(settings, clock)
    finally:
        signal.sigtimedwait({signal.SIGTERM}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert clock.slept_s == []


def test_what_was_pinned_meanwhile_fits(
    settings: MountSettings, holder: DiskTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of a cache without ``--cache-size`` is found after the wait."""
    sizes = iter([0, 0, 5])
    monkeypatch.setattr(disk_cache, "default_disk_bytes", lambda _folder: MIB)
    monkeypatch.setattr(disk_cache, "kept_budget", lambda _folder, _block: next(sizes) * MIB)
    holder.name_holder(holder_at(settings.mountpoint))
    tier = open_disk_tier(replace(settings, cache_bytes=None), EndingClock(holder, 2))
    assert tier is not None
    assert tier.budget_bytes == 5 * MIB
    tier.close()


def test_the_lock_file_is_private(settings: MountSettings, holder: DiskTier) -> None:
    """It names a path of the user."""
    holder.name_holder(holder_at(settings.mountpoint))
    (folder,) = (settings.cache_dir / "blocks").iterdir()
    assert os.stat(folder / "lock").st_mode & 0o777 == 0o600
