# SPDX-License-Identifier: Apache-2.0
"""What mounts of one library cost its account: a first mount, another one, a day of work."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

from backlotfs.catalog.db import assets
from backlotfs.catalog.db.rows import SourceRecord
from backlotfs.emulator.assets import EmulatedAsset, SyntheticContent, synthetic_assets
from backlotfs.emulator.library import Library
from benchmarks.virtual_mount import VirtualMount, mounted
from benchmarks.virtual_service import VirtualService
from benchmarks.virtual_time import VirtualTime

LATENCY_S = 0.03
TTL_S = 300.0
HOURS_IN_USE = 8
UPLOADS, EDITS = 200, 50
_START_S = 1_700_000_000.0
_UPLOADED_OVER_S = 5 * 365 * 86400
_STAT_EVERY_S = 30
_USED_EVERY_S = 60.0


#: Seconds after the beginning, what happens then, and its number.
_Event = tuple[float, Callable[[int], object], int]


class FirstMount(NamedTuple):
    """:ivar listed_s: seconds to a mount that answers. :ivar sized_s: to the last size.

    :ivar longest_stat_s: the longest wait of a stat of what the crawl comes to last.
    """

    listed_s: float
    sized_s: float
    calls: Counter[str]
    longest_stat_s: float


class Day(NamedTuple):
    """Calls of the hours in use, and of the whole day."""

    in_use: Counter[str]
    whole: Counter[str]


class VirtualAccount:
    """A library of so many assets, uploaded evenly over five years, and its one catalog.

    Every step begins with a mount and ends with its end. A 429 would be a fault of ours.
    """

    def __init__(self, assets: int, cache_dir: Path) -> None:
        self.time = VirtualTime(_START_S)
        self.library = Library(_over_years(assets), clock=self.time.now)
        self.service = VirtualService(self.library, self.time, latency_s=LATENCY_S)
        self._cache_dir = cache_dir
        self._chance = random.Random(assets)

    def first_mount(self, *, crawl: bool = True) -> FirstMount:
        """Up to the last size.

        :param crawl: False writes the sizes into the catalog instead, as probes would.
        """
        began_s, longest_s = self.time.monotonic(), 0.0
        with mounted(self.service, self.time, self._cache_dir) as mount:
            listed_s = self.time.monotonic() - began_s
            calls = self.service.calls.copy()
            if not crawl:
                self._save_sizes(mount)
                return FirstMount(listed_s, listed_s, calls, 0.0)
            last = [asset.embed_code for asset in self.library.ordered()]
            for second in itertools.count():
                if not mount.unsized():
                    break
                if second % _STAT_EVERY_S == 0:
                    longest_s = max(longest_s, self._stat_the_last(mount, last))
                self.time.sleep(1.0)
            sized_s = self.time.monotonic() - began_s
            self._check(mount)
        return FirstMount(listed_s, sized_s, self.service.calls.copy(), longest_s)

    def another_mount(self, *, hours_later: float) -> Counter[str]:
        """Nothing has changed; one ``ls -l`` after five minutes; the calls of ten minutes."""
        self.time.sleep(hours_later * 3600)
        before = self.service.calls.copy()
        with mounted(self.service, self.time, self._cache_dir) as mount:
            self.time.sleep(TTL_S + 1)
            mount.list_sizes()
            self.time.sleep(600 - TTL_S - 1)
        return self.service.calls - before

    def day(self) -> Day:
        """Eight hours of use with uploads and edits in them, and the rest of 24 without."""
        before = self.service.calls.copy()
        with mounted(self.service, self.time, self._cache_dir) as mount:
            hours_s = HOURS_IN_USE * 3600.0
            moments = functools.partial(self._chance.uniform, 0, hours_s - 600)
            self._play(
                [
                    *((moments(), self._upload, number) for number in range(UPLOADS)),
                    *((moments(), self._edit, number) for number in range(EDITS)),
                    *((at_s, lambda _: mount.use(), 0) for at_s in _steps(_USED_EVERY_S, hours_s)),
                    *((at_s, lambda _: mount.list_sizes(), 0) for at_s in _steps(3600.0, hours_s)),
                ]
            )
            in_use = self.service.calls - before
            self.time.sleep((24 - HOURS_IN_USE) * 3600.0)
            self._check(mount)
        return Day(in_use, self.service.calls - before)

    def _play(self, events: list[_Event]) -> None:
        began_s = self.time.monotonic()
        for at_s, event, number in sorted(events, key=lambda one: one[0]):
            self.time.sleep(max(0.0, began_s + at_s - self.time.monotonic()))
            event(number)

    def _stat_the_last(self, mount: VirtualMount, codes: list[str]) -> float:
        """How long it takes to ask for what the crawl would come to last."""
        while codes and mount.stack.versions.known(codes[-1]) is not None:
            codes.pop()
        if not codes:
            return 0.0
        began_s = self.time.monotonic()
        mount.size(mount.stack.namespace.name_of(codes[-1]))
        return self.time.monotonic() - began_s

    def _save_sizes(self, mount: VirtualMount) -> None:
        mount.stack.db.write(
            assets.save_sources, [_probed(asset) for asset in self.library.ordered()]
        )

    def _upload(self, number: int) -> None:
        now_s = int(self.time.now())
        content = SyntheticContent(number, 1_000_000 + number, now_s)
        code = f"uploaded-{now_s}-{number:04d}".ljust(32, "_")
        title = f"upload {number}"
        self.library.add(EmulatedAsset(code, title, f"{title}.mov", content, created_at=now_s))

    def _edit(self, number: int) -> None:
        """Every second one gets another source, in turn beside the old one; the rest a title."""
        code = self._chance.choice(self.library.ordered()).embed_code
        if number % 2:
            self.library.edit(code, title=f"edited {number}")
        else:
            self.library.replace(code, size=2_000_000 + number, keep_old=number % 4 == 0)

    def _check(self, mount: VirtualMount) -> None:
        """:raises SystemExit: a size is missing or wrong; then the numbers mean nothing."""
        for asset in self.library.ordered():
            known = mount.stack.versions.known(asset.embed_code)
            size = asset.content.size if asset.content is not None else None
            if known is None or not known.verified or known.version.size != size:
                raise SystemExit(f"{asset.embed_code} has {size} bytes, the mount says {known}")
        if self.service.refused:
            raise SystemExit(f"{self.service.refused} calls were refused with a 429")


def _over_years(count: int) -> list[EmulatedAsset]:
    """As made-up libraries go, but not uploaded within minutes."""
    first_s, step_s = _START_S - _UPLOADED_OVER_S, (_UPLOADED_OVER_S - 86400) / count
    return [
        replace(asset, created_at=int(first_s + index * step_s))
        for index, asset in enumerate(synthetic_assets(count))
    ]


def _probed(asset: EmulatedAsset) -> SourceRecord:
    assert asset.content is not None, "made-up assets have sources"
    content = asset.content
    modified = formatdate(content.last_modified, usegmt=True)
    return SourceRecord(
        asset.embed_code, content.size, content.etag, modified, content.last_modified, True, False
    )


def _steps(step_s: float, until_s: float) -> list[float]:
    return [step_s * number for number in range(int(until_s / step_s))]
