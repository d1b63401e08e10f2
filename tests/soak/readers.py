# SPDX-License-Identifier: Apache-2.0
"""Readers that compare every byte, and note how long each read took and what failed."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

from backlotfs.emulator import EmulatedAsset
from tests.support.expected_bytes import len_of, origin_bytes
from tests.support.made_assets import KIB

#: Between two reads, as an application that does something with what it reads.
PAUSE_S = 0.01
_STEPS = (4 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 1024 * KIB)


class Reader(threading.Thread):
    """Reads the files in turn: on and on, from place to place, backwards.

    :ivar latencies_s: of each read.
    :ivar errors: by the name of their errno.
    :ivar wrong: what was read wrongly.
    """

    def __init__(self, folder: Path, assets: list[EmulatedAsset], number: int) -> None:
        super().__init__(name=f"reader {number}", daemon=True)
        self._folder = folder
        self._assets = assets
        self._dice = random.Random(number)
        self._over = threading.Event()
        self.latencies_s: list[float] = []
        self.read_bytes = 0
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []

    def stop(self) -> None:
        """After the read under way."""
        self._over.set()

    def run(self) -> None:
        """Until stopped."""
        while not self._over.is_set():
            try:
                self._read_one(self._dice.choice(self._assets))
            except OSError as error:
                self.errors[errno.errorcode.get(error.errno or 0, str(error))] += 1

    def _read_one(self, asset: EmulatedAsset) -> None:
        descriptor = os.open(self._folder / str(asset.original_file_name), os.O_RDONLY)
        try:
            size, step = len_of(asset), self._dice.choice(_STEPS)
            offset, way = self._dice.randrange(size), self._dice.choice(("on", "on", "about"))
            for _ in range(self._dice.randrange(5, 60)):
                if self._over.is_set():
                    return
                self._pread(descriptor, asset, offset, step)
                offset = offset + step if way == "on" else self._dice.randrange(size)
                self._over.wait(PAUSE_S)
        finally:
            # What the kernel keeps would be read without us: the origin is what is on trial.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def _pread(self, descriptor: int, asset: EmulatedAsset, offset: int, step: int) -> None:
        began = time.monotonic()
        data = os.pread(descriptor, step, offset)
        self.latencies_s.append(time.monotonic() - began)
        self.read_bytes += len(data)
        expected = origin_bytes(asset, offset, step)
        if data != expected:
            how = "short" if expected.startswith(data) else "other bytes"
            self.wrong.append(f"{asset.original_file_name}: pread({step}, {offset}): {how}")
