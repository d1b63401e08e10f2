# SPDX-License-Identifier: Apache-2.0
"""A mount that answers `warm` and `pin` from a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backlotfs.mount.control.client import NoAnswer

KIB = 1024


class FakeMount:
    """A folder that takes itself for a mount, with a disk tier of 1 MiB that `ask` speaks to."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.room = 1024 * KIB
        self.cached: dict[str, int] = {}
        self.pinned: dict[str, str] = {}
        self.broken: dict[str, NoAnswer] = {}
        self.leaky = False
        self.waiting: dict[str, list[float]] = {}  # by command: the waits for credits to come
        self.steps: list[tuple[str, int]] = []

    def add(self, name: str, size: int) -> Path:
        """A file of it."""
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        return path

    def ask(self, place: Path, command: str, *, path: str = "", **more: Any) -> dict[str, Any]:
        """As `mount.control.client.ask`."""
        assert place == self.place
        if command in ("pin", "unpin", "pins"):
            return self._pins(command, path, more)
        if self.waiting.get(command):
            return {"waiting_s": self.waiting[command].pop(0)}
        if path.endswith(".json"):
            return {"virtual": True}
        name = path.removeprefix("/")
        code = name.rpartition("/")[2]  # a file of two folders is one source
        size = (self.place / name).stat().st_size
        if command == "cached":
            cached = self.cached.get(code, 0)
            return {"id": code, "version": "v1", "size": size, "cached_bytes": cached,
                    "pinned": code in self.pinned, "room": self.room,
                    "block": 64 * KIB}  # fmt: skip
        if code in self.broken:
            raise self.broken[code]
        assert more["version"] == "v1"
        self.steps.append((code, more["offset"]))
        reached = more["offset"] + min(more["length"], 100 * KIB)
        self.cached[code] = 0 if self.leaky else min(reached, size)
        return {"reached": reached, "fetched_bytes": reached - more["offset"]}

    def _pins(self, command: str, path: str, more: dict[str, Any]) -> dict[str, Any]:
        self.steps.append((command, more.get("dry_run", 0)))
        if command in self.broken:
            raise self.broken[command]
        if command == "pin":
            if not more["dry_run"]:
                self.pinned.update(more["sources"])
            return {}
        if command == "unpin":
            gone = [code for code in self.pinned if f"/{code}".startswith(path)]
            return {"files": len([self.pinned.pop(code) for code in gone]), "size": 10 * len(gone)}
        files = [{"id": code, "paths": [f"/{code}"] if code[0] != "x" else [], "size": 10,
                  "cached_bytes": self.cached.get(code, 0)} for code in self.pinned]  # fmt: skip
        return {"quota_bytes": 2048, "needed_bytes": 1024, "cached_bytes": 512, "files": files}
