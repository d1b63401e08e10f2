# SPDX-License-Identifier: Apache-2.0
"""A library whose catalog outlives its mounts: all of them share one cache folder."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from backlotfs.emulator import EmulatedAsset, Emulator, Fault, FaultRule
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.outage import take_down

#: What the name of an asset that only shows the end of a sync begins with.
_SIGN = "sign-"
#: Whatever is shown is a file's; these are the parts that a re-mount must not change.
Shown = dict[str, tuple[int, int, int]]


def uploaded(name: str, content: int | bytes = 1000, *, tag: str = "") -> EmulatedAsset:
    """An asset that is uploaded now, as the API's own times tell it."""
    now = int(time.time())
    return video(name, content, tag=tag, created_at=now, updated_at=now)


def api_calls(emulator: Emulator) -> list[str]:
    """Routes of the calls that the API (not the source or CDN host) was asked, oldest first.

    Also of those under way: tests ask while the API hangs.
    """
    return [
        entry.route
        for entry in emulator.requests.entries()
        if entry.host == "api" and entry.route != "source"
    ]


def url_calls(emulator: Emulator, asset: EmulatedAsset) -> int:
    """How often the API was asked where the source of an asset is: one credit each."""
    count = emulator.requests.count
    return sum(
        count(route=route, embed_code=asset.embed_code) for route in ("streams", "source_file_info")
    )


def shown(mount: Mount) -> Shown:
    """``ls -l``: name to inode, size and mtime, signs left out."""
    with os.scandir(mount.path) as entries:
        found = {entry.name: entry.stat() for entry in entries if not entry.name.startswith(_SIGN)}
    return {name: (stat.st_ino, stat.st_size, int(stat.st_mtime)) for name, stat in found.items()}


def status(mount: Mount) -> dict[str, Any]:
    """What the mount says of itself."""
    return ask(mount.path, "status")


def ask_for_refresh(mount: Mount, *, full: bool = False) -> None:
    """What ``backlotfs refresh`` does: the sync begins, its end is not waited for."""
    ask(mount.path, "refresh", full=full)


def wait_until_sized(mount: Mount) -> None:
    """Return once every size is known; see `KeptLibrary.wait_until_saved`."""

    def all_sized() -> bool:
        sizes = status(mount)["sizes"]
        return bool(sizes["total"] == sizes["sized"] + sizes["missing"])

    wait_until(all_sized, "every size to be known")


class KeptLibrary:
    """An emulator and the cache folder of its mounts."""

    def __init__(
        self,
        assets: Sequence[EmulatedAsset],
        folder: Path,
        serve: Serve,
        mounted: MountIt,
        **how: Any,
    ) -> None:
        """Serve the assets, mount nothing yet.

        :param folder: for the cache folder and what belongs to no mount.
        :param how: fields of `EmulatorSettings`.
        """
        self.emulator = serve(*assets, **how)
        self.folder = folder
        self.cache = folder / "cache"
        self.cache.mkdir()
        self._serve = serve
        self._how = how
        self._mounted = mounted
        self._signs = 0
        self._started_s: dict[Mount, float] = {}

    @property
    def catalog(self) -> Path:
        """The catalog's file. :raises ValueError: there is not exactly one."""
        (found,) = (self.cache / "catalog").glob("*.sqlite3")
        return found

    @property
    def urls(self) -> Path:
        """The file of signed URLs, whether it is there or not; the catalog's has to be."""
        return self.cache / "urls" / self.catalog.name

    def mount(self, *options: str, **more: Any) -> Mount:
        """A mount that closes with the test."""
        before_s = time.time()
        mount = self._mounted(self.emulator, "--cache-dir", str(self.cache), *options, **more)
        self._started_s[mount] = before_s
        return mount

    def unstarted(self, *options: str) -> Mount:
        """A mount in a folder of its own, to be launched and closed by the test."""
        folder = self.folder / f"unstarted-{len(list(self.folder.glob('unstarted-*')))}"
        folder.mkdir(mode=0o700)
        return Mount(self.emulator, folder, "--cache-dir", str(self.cache), *options)

    def restart(self, **changes: Any) -> None:
        """Stop the server; serve the same assets on the same port, with other settings."""
        old = self.emulator
        take_down(old)
        port = int(old.api_url.rpartition(":")[2])
        same = {"port": port, "api_key": old.api_key, "api_secret": old.api_secret}
        self._how = {**self._how, **same, **changes}
        self.emulator = self._serve(*old.library.ordered(), **self._how)

    def wait_until_checked(self, mount: Mount) -> None:
        """Return once a mount that began with the saved catalog has synced."""
        wait_until(
            lambda: bool(status(mount)["synced_at"] > self._started_s[mount]), "the first sync"
        )

    def wait_until_saved(self, mount: Mount) -> None:
        """Return once every size is known, and in the catalog's file half a second later."""
        wait_until_sized(mount)
        wait_until(self._all_is_saved, "what was learned to be saved")

    def _all_is_saved(self) -> bool:
        with closing(sqlite3.connect(f"file:{self.catalog}?mode=ro", uri=True)) as database:
            (left,) = database.execute(
                "SELECT count(*) FROM asset WHERE NOT missing AND (size < 0 OR NOT verified)"
            ).fetchone()
        return bool(left == 0)

    def fill(self, *options: str) -> Shown:
        """Mount, learn every size, unmount; what was shown."""
        mount = self.mount(*options)
        wait_until_sized(mount)
        found = shown(mount)
        mount.close()
        return found

    @contextmanager
    def hanging(self, *routes: str, skip: int = 0) -> Iterator[list[FaultRule]]:
        """These routes (of none: all) take requests and answer nothing, but the first ``skip``."""
        rules = [
            self.emulator.faults.add(Fault.delay(600), route=route, skip=skip)
            for route in routes or ("*",)
        ]
        yield rules
        for rule in rules:
            self.emulator.faults.remove(rule)

    def refresh(self, mount: Mount, *, full: bool = False) -> None:
        """Have the mount sync; return once it shows what the library was when this was called."""
        self._signs += 1
        sign = self.emulator.library.add(uploaded(f"{_SIGN}{self._signs}"))
        ask_for_refresh(mount, full=full)
        wait_until(
            lambda: sign.original_file_name in os.listdir(mount.path),
            "the new listing",
            timeout_s=90,
        )
        wait_until(lambda: not status(mount)["syncing"], "the kernel to be told", timeout_s=90)
