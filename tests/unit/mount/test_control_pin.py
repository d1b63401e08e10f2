# SPDX-License-Identifier: Apache-2.0
"""What a mount answers to ``pin``, ``unpin`` and ``pins``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.pins import Pins
from backlotfs.catalog.db.table import AssetTable
from backlotfs.config.settings import NameMode, Quota
from backlotfs.errors import BacklotError
from backlotfs.mount.control.handlers import pin_handlers
from backlotfs.mount.control.server import Handler
from backlotfs.namespace.layouts import build
from tests.fakes.records import row
from tests.unit.cache.disk_blocks import BLOCK, keep, key, tier_at

FIRST, SECOND, GONE = (Pin(code, f'"v1"/{BLOCK}') for code in ("E1", "E2", "E9"))
ROOT = build(
    ["flat"], AssetTable([row("E1", "a.mov"), row("E2", "b.mov")]), [], {}, names=NameMode.ORIGINAL
)


class Asked:
    """The parts of a stack that are asked, over a real tier."""

    def __init__(self, tier: DiskTier) -> None:
        self.tier = tier
        self.pins = Pins(tier, Quota(size=2 * BLOCK))
        stack: Any = SimpleNamespace(
            reading=SimpleNamespace(reconciler=SimpleNamespace(pins=self.pins)),
            namespace=SimpleNamespace(root=ROOT.root),
        )
        self.handlers: dict[str, Handler] = dict(pin_handlers(stack))

    def pin(self, *pins: Pin, dry_run: bool = False) -> dict[str, Any]:
        """As the command asks."""
        return self.handlers["pin"]({"sources": [list(pin) for pin in pins], "dry_run": dry_run})


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    """With nothing pinned."""
    with tier_at(tmp_path / "t") as tier:
        yield Asked(tier)


def test_all_or_none(asked: Asked) -> None:
    """What does not fit is told in words that help; to ask first changes nothing."""
    assert asked.pin(FIRST, SECOND, dry_run=True) == {}
    assert asked.pins.all() == []
    for dry_run in (True, False):
        with pytest.raises(
            BacklotError, match=r"12\.0 KiB.* quota of 8\.0 KiB has 8\.0 KiB .* --pin-quota"
        ):
            asked.pin(FIRST, SECOND, GONE, dry_run=dry_run)
    assert asked.pin(FIRST, SECOND) == {"pinned": 2}
    assert asked.pins.all() == [FIRST, SECOND]


def test_unpinned(asked: Asked) -> None:
    """A file, or with the root everything, also what the library has no more."""
    asked.pin(FIRST, GONE)
    assert asked.handlers["unpin"]({"path": "/b.mov"}) == {"files": 0, "size": 0}
    assert asked.handlers["unpin"]({"path": "/a.mov"}) == {"files": 1, "size": BLOCK}
    assert asked.handlers["unpin"]({"path": "/"}) == {"files": 1, "size": BLOCK}
    with pytest.raises(BacklotError, match="no such file"):
        asked.handlers["unpin"]({"path": "/c.mov"})


def test_listed(asked: Asked) -> None:
    """Each with its places; in brief without the files."""
    asked.pin(FIRST, GONE)
    keep(asked.tier, key(0, *FIRST))
    totals = {"quota_bytes": 2 * BLOCK, "needed_bytes": 2 * BLOCK, "cached_bytes": BLOCK}
    assert asked.handlers["pins"]({"brief": True}) == totals
    assert asked.handlers["pins"]({}) == totals | {
        "files": [
            {"id": "E1", "paths": ["/a.mov"], "size": BLOCK, "cached_bytes": BLOCK},
            {"id": "E9", "paths": [], "size": BLOCK, "cached_bytes": 0},
        ]
    }
