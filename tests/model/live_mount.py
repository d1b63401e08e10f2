# SPDX-License-Identifier: Apache-2.0
"""The mount and the emulator that all runs of the model share."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from backlotfs.emulator import EmulatedAsset, Emulator
from backlotfs.mount.control.client import ask
from tests.model.mapper import Mapper
from tests.model.reference import ModelFile
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount

#: Small, so that blocks are thrown away and asked for again all the time.
OPTIONS = ("--memory", "4M", "--cache-size", "8M")
#: Longer than all runs of the model take on a busy machine.
LIFE_S = 280.0


class LiveMount:
    """Everything real. Not thread-safe.

    :ivar operations: how many of each were made.
    :ivar failures: what went wrong in each run, for one that hypothesis cannot have again.
    """

    def __init__(self, emulator: Emulator, folder: Path, mapper: Mapper) -> None:
        """Mount."""
        self.emulator = emulator
        self.mapper = mapper
        self.operations: Counter[str] = Counter()
        self.failures: list[str] = []
        self._folder = folder
        self._numbers = itertools.count()
        self._sign: EmulatedAsset | None = None
        self._mount = self._start()

    @property
    def path(self) -> Path:
        """The mountpoint."""
        return self._mount.path

    def close(self) -> None:
        """Unmount. :raises AssertionError: it does not end cleanly."""
        self._mount.close()

    def restart(self, *, keep_blocks: bool) -> None:
        """End the mount and make it anew, with or without the blocks it had on disk."""
        self.close()
        if not keep_blocks:
            for folder in (self._folder / "cache").rglob("blocks*"):
                shutil.rmtree(folder, ignore_errors=True)
        self._mount = self._start()

    def number(self) -> int:
        """Another one each time."""
        return next(self._numbers)

    def upload(self, name: str, size: int) -> EmulatedAsset:
        """A new asset at the origin."""
        now = int(time.time())
        asset = video(name, size, created_at=now, updated_at=now)
        return self.emulator.library.add(asset)

    def settle(self, files: Iterable[ModelFile]) -> None:
        """Have the mount look for news, and wait until it shows all of it.

        :raises AssertionError: it does not come to.
        """
        old, self._sign = self._sign, self.upload(f"sign {self.number()}.txt", 1)
        if old is not None:
            self.emulator.library.delete(old.embed_code)
        sign = self._sign.original_file_name
        ask(self.path, "refresh")
        wait_until(lambda: sign in os.listdir(self.path), "the new listing")
        for file in files:
            wait_until(functools.partial(self._up_to_date, file), f"news of {file.name}")
            file.settle()

    def _up_to_date(self, file: ModelFile) -> bool:
        try:
            status = os.stat(self.path / file.name)
        except FileNotFoundError:
            return file.deleted
        return not file.deleted and file.shows_latest(status.st_size, int(status.st_mtime))

    def _start(self) -> Mount:
        options = (*OPTIONS, "--cache-dir", str(self._folder / "cache"))
        mount = Mount(self.emulator, self._folder, *options, life_s=LIFE_S)
        mount.expect_log(r"ESTALE|ENODATA|ENOENT")
        return mount.start()
