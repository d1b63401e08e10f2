# SPDX-License-Identifier: Apache-2.0
"""What a mount answers to ``warm``."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from backlotfs.catalog.db.table import AssetTable
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import NameMode
from backlotfs.errors import ContentChanged
from backlotfs.fetch.warm import Step
from backlotfs.mount.control import handlers as module
from backlotfs.mount.control.handlers import warm_handlers
from backlotfs.mount.control.server import Handler
from backlotfs.namespace.layouts import build
from backlotfs.namespace.namespace import Found
from backlotfs.namespace.tree import node_at
from backlotfs.source.version import SourceVersion
from tests.fakes.records import row
from tests.unit.namespace.around import Note


class Asked:
    """The parts of a stack that are asked; notes what the warmer was told."""

    def __init__(self) -> None:
        self.source = SourceVersion("E1", 100, '"v1"', None)
        self.told: list[Any] = []
        self.queued: set[str] = set()
        self.waits: Future[None] | None = None
        warmer = SimpleNamespace(
            settle=lambda: self.told.append("settle"),
            cached_bytes=lambda _identity: 40,
            room_bytes=1000,
            block_bytes=10,
            warm=self._warm,
        )
        root = build(
            ["flat"], AssetTable([row("E1", "a.mov")]), (), {}, names=NameMode.ORIGINAL
        ).root
        namespace = SimpleNamespace(
            find=lambda path: Note() if path == "/a.mov.json" else node_at(root, path),
            open=self._open,
            root=root,
        )
        pins = SimpleNamespace(of={"E1": "a pin"}.get, needed_bytes=300)
        reading = SimpleNamespace(warmer=warmer, reconciler=SimpleNamespace(pins=pins))
        probes = SimpleNamespace(is_queued=lambda code: code in self.queued)
        limiter = SimpleNamespace(status=lambda: SimpleNamespace(more_in_s=41.0))
        stack: Any = SimpleNamespace(
            namespace=namespace, reading=reading, probes=probes, limiter=limiter
        )
        self.handlers: dict[str, Handler] = dict(warm_handlers(stack))

    def _open(self, found: Found, waiter: InterruptibleWait) -> SourceVersion:
        if self.waits is not None:
            waiter.result(self.waits, "finding out", "E1")
        assert found == row("E1", "a.mov")
        return self.source

    def _warm(self, identity: SourceVersion, offset: int, length: int, _waiter: object) -> Step:
        self.told.append((identity.embed_code, offset, length))
        return Step(offset + length, 7)


def test_cached_bytes_of_a_file() -> None:
    """The answer has the room for the file, too; with ``settle`` it waits for pending writes."""
    asked = Asked()
    version = asked.source.validator
    expected = {
        "id": "E1", "version": version, "size": 100, "cached_bytes": 40, "pinned": True,
        "room": 700, "block": 10,
    }  # fmt: skip
    assert asked.handlers["cached"]({"path": "/a.mov"}) == expected
    assert asked.told == []
    assert asked.handlers["cached"]({"path": "/a.mov", "settle": True}) == expected
    assert asked.told == ["settle"]


def test_a_file_that_is_never_fetched() -> None:
    """The mount generates it; the answer says so."""
    assert Asked().handlers["cached"]({"path": "/a.mov.json"}) == {"virtual": True}


def test_one_step() -> None:
    """Of the version that was looked at, and no other."""
    asked = Asked()
    request = {"path": "/a.mov", "version": asked.source.validator, "offset": 20, "length": 30}
    assert asked.handlers["warm"](request) == {"reached": 50, "fetched_bytes": 7}
    assert asked.told == [("E1", 20, 30)]
    asked.source = SourceVersion("E1", 100, '"v2"', None)
    with pytest.raises(ContentChanged, match=r"/a\.mov was replaced"):
        asked.handlers["warm"](request)
    assert len(asked.told) == 1


def test_a_step_that_waits_for_a_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is answered with the time that it takes, soon: the command says so, and asks again."""
    monkeypatch.setattr(module, "CREDIT_STEP_S", 0.05)
    asked = Asked()
    asked.waits, asked.queued = Future(), {"E1"}
    request = {"path": "/a.mov", "version": asked.source.validator, "offset": 0, "length": 9}
    for command in ("cached", "warm"):
        assert asked.handlers[command](request) == {"waiting_s": 41.0}
    asked.waits.set_result(None)
    assert asked.handlers["warm"](request) == {"reached": 9, "fetched_bytes": 7}
