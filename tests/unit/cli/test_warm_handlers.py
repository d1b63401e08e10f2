"""What a mount answers to ``warm``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from backlotfs.cli.warm_handlers import warm_handlers
from backlotfs.control.server import Handler
from backlotfs.errors import ContentChanged
from backlotfs.reading.warming import Step
from backlotfs.remote.identity import SourceIdentity


class Asked:
    """The parts of a stack that are asked; notes what the warmer was told."""

    def __init__(self) -> None:
        self.source = SourceIdentity("E1", 100, '"v1"', None)
        self.told: list[Any] = []
        warmer = SimpleNamespace(
            settle=lambda: self.told.append("settle"),
            held_bytes=lambda _identity: 40,
            room_bytes=1000,
            block_bytes=10,
            warm=self._warm,
        )
        namespace = SimpleNamespace(
            is_made=lambda path: path == "/a.mov.json",
            open=lambda path, _waiter: SimpleNamespace(identity={"/a.mov": self.source}[path]),
        )
        pins = SimpleNamespace(of={"E1": "a pin"}.get, needed_bytes=300)
        keeper = SimpleNamespace(pins=pins)
        stack: Any = SimpleNamespace(namespace=namespace, warmer=warmer, keeper=keeper)
        self.handlers: dict[str, Handler] = dict(warm_handlers(stack))

    def _warm(self, identity: SourceIdentity, offset: int, length: int, _waiter: object) -> Step:
        self.told.append((identity.embed_code, offset, length))
        return Step(offset + length, 7)


def test_how_much_is_held() -> None:
    """And whether all fits; what is on its way to the disk is waited for, if told."""
    asked = Asked()
    version = asked.source.validator
    expected = {
        "id": "E1", "version": version, "size": 100, "held": 40, "pinned": True, "room": 700,
        "block": 10,
    }  # fmt: skip
    assert asked.handlers["held"]({"path": "/a.mov"}) == expected
    assert asked.told == []
    assert asked.handlers["held"]({"path": "/a.mov", "settle": True}) == expected
    assert asked.told == ["settle"]


def test_a_file_that_is_never_fetched() -> None:
    """Is said to be made by the mount."""
    assert Asked().handlers["held"]({"path": "/a.mov.json"}) == {"made": True}


def test_one_step() -> None:
    """Of the version that was looked at, and no other."""
    asked = Asked()
    request = {"path": "/a.mov", "version": asked.source.validator, "offset": 20, "length": 30}
    assert asked.handlers["warm"](request) == {"reached": 50, "fetched_bytes": 7}
    assert asked.told == [("E1", 20, 30)]
    asked.source = SourceIdentity("E1", 100, '"v2"', None)
    with pytest.raises(ContentChanged, match=r"/a\.mov was replaced"):
        asked.handlers["warm"](request)
    assert len(asked.told) == 1
