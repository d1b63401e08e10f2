# SPDX-License-Identifier: Apache-2.0
"""The whole stack without a kernel: names, attributes and reads, as the adapter would ask."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account, MountSettings
from backlotfs.emulator import EmulatedAsset, Emulator
from backlotfs.errors import BacklotError
from backlotfs.mount.stack import build_stack
from tests.fakes.clocks import HurriedClock
from tests.fakes.sources import read_bytes
from tests.support.expected_bytes import assert_equal_bytes, len_of, origin_bytes
from tests.support.request_log import ended_requests

#: As in a mount: how long the kernel would believe attributes.
_PROBE = "bytes=0-0"
_STEP_BYTES = 128 * 1024


class UnmountedLibrary:
    """An emulator's library through `backlotfs.mount.stack`; close it.

    Every operation has ``patience_s`` seconds, on the library's own clock, and more while it waits
    for an API credit.
    """

    def __init__(
        self,
        emulator: Emulator,
        *,
        patience_s: float = 20.0,
        allow_source_hosts: tuple[str, ...] = (),
        cdn: bool = False,
        ca_bundle: str | None = None,
        **settings: Any,
    ) -> None:
        """List the library. ``settings``: fields of `MountSettings`."""
        self.emulator = emulator
        self.clock = HurriedClock()
        self.patience_s = patience_s
        self.account = Account(
            emulator.api_url,
            emulator.api_key,
            emulator.api_secret,
            cdn_url=emulator.cdn_url if cdn else None,
            allow_source_hosts=allow_source_hosts,
            ca_bundle=ca_bundle,
        )
        self._cache = tempfile.TemporaryDirectory(prefix="backlotfs-test-")
        settings = {"cache_dir": Path(self._cache.name), **settings}
        self.stack = build_stack(
            MountSettings(self.account, Path("/unused"), **settings), self.clock
        )
        self.stack.catalog.load(Deadline(20.0, self.clock))

    def close(self) -> None:
        """Let everything that hangs go on, wait for its end, close the connections."""
        self.emulator.faults.clear()
        ended_requests(self.emulator)
        self.stack.close()
        self._cache.cleanup()

    def waiter(self, interrupted: Callable[[], bool] = lambda: False) -> InterruptibleWait:
        """The patience of one operation."""
        deadline = Deadline(self.patience_s, self.clock)
        return InterruptibleWait(deadline, interrupted, self.stack.probes.is_queued)

    def names(self) -> list[str]:
        """The listing of the root."""
        namespace = self.stack.namespace
        return [entry.name for entry in namespace.entries(namespace.root)]

    def refresh(self) -> None:
        """List the library anew and wait for it."""
        self.stack.catalog.load(Deadline(20.0, self.clock))

    def size(self, asset: EmulatedAsset) -> int:
        """What stat would say."""
        namespace = self.stack.namespace
        return namespace.attributes(namespace.find(self._path(asset)), self.waiter).size

    def open(self, asset: EmulatedAsset) -> int:
        """A file handle."""
        namespace = self.stack.namespace
        version = namespace.open(namespace.find(self._path(asset)), self.waiter())
        return self.stack.reading.reader.open(version)

    def read(self, fh: int, offset: int, length: int) -> bytes:
        """One read."""
        try:
            return read_bytes(self.stack.reading.reader, fh, offset, length, self.waiter())
        except BacklotError as error:
            self.stack.reading.metrics.reads.failed(0, fh, error)
            raise

    def assert_reads(self, fh: int, asset: EmulatedAsset, offset: int, length: int) -> None:
        """One read that gives exactly the bytes of this version of the origin."""
        seen = self.read(fh, offset, length)
        assert_equal_bytes(seen, origin_bytes(asset, offset, length), offset)

    def assert_whole(self, asset: EmulatedAsset) -> None:
        """Open, read from front to back, flush and release; every byte is the origin's."""
        fh = self.open(asset)
        for offset in range(0, len_of(asset) + 1, _STEP_BYTES):
            self.assert_reads(fh, asset, offset, _STEP_BYTES)
        self.stack.reading.reader.flush(fh)
        self.stack.reading.reader.release(fh)

    def gets(self, asset: EmulatedAsset) -> list[tuple[str | None, int | None]]:
        """Range and status of each GET of the source, oldest first, without the probes."""
        return [
            (entry.range_header, entry.status)
            for entry in ended_requests(self.emulator, route="source", embed_code=asset.embed_code)
            if entry.range_header != _PROBE
        ]

    def probes(self, asset: EmulatedAsset) -> int:
        """How many GETs of the first byte there were."""
        entries = ended_requests(self.emulator, route="source", embed_code=asset.embed_code)
        return sum(entry.range_header == _PROBE for entry in entries)

    def url_requests(self, asset: EmulatedAsset) -> int:
        """How many calls of the API for a URL there were."""
        return sum(
            len(ended_requests(self.emulator, route=route, embed_code=asset.embed_code))
            for route in ("streams", "source_file_info")
        )

    @staticmethod
    def _path(asset: EmulatedAsset) -> str:
        return f"/{asset.original_file_name}"
