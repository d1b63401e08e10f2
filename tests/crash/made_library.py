# SPDX-License-Identifier: Apache-2.0
"""The library that is read while its mounts are killed: every file's bytes follow from its name.

So a reader in another process, and whoever looks into a disk tier afterwards, knows what is right.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from backlotfs.emulator import EmulatedAsset, SyntheticContent
from backlotfs.emulator.assets import seed_of
from backlotfs.emulator.library import Library
from tests.support.made_assets import KIB, MIB, video

#: The one file that is replaced, by other bytes of the same size.
MASTER = f"master-{MIB + 123}.mov"
CLIPS = 8


def size_of(name: str) -> int:
    """In bytes: ``clip7-1500000.mov``."""
    return int(name.removesuffix(".mov").rpartition("-")[2])


def content_of(name: str, version: int = 0) -> SyntheticContent:
    """The source of that file; only the master ever has another version than 0."""
    return SyntheticContent(seed_of(f"{name}/{version}"), size_of(name), 1_400_000_000 + version)


def matching(name: str, data: bytes, offset: int, versions: Iterable[int]) -> int | None:
    """Which of these versions has exactly these bytes there."""
    return next((v for v in versions if content_of(name, v).read(offset, len(data)) == data), None)


class ChangingLibrary:
    """Files come and go and the master is replaced, each time `change` is called.

    :ivar version: of the master, as it is now.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._made = 0
        self._ever = {MASTER: _asset(MASTER)}
        self.version = 0
        self.library = Library([self._ever[MASTER], *(self._new() for _ in range(CLIPS))])

    def names(self) -> list[str]:
        """What a listing should hold."""
        return sorted(str(asset.original_file_name) for asset in self.library.ordered())

    def sources(self) -> list[tuple[str, str, SyntheticContent]]:
        """Name, embed code and content of every version of every file that there ever was."""
        return [
            (name, asset.embed_code, content_of(name, version))
            for name, asset in self._ever.items()
            for version in range(self.version + 1 if name == MASTER else 1)
        ]

    def change(self) -> None:
        """Replace the master, delete the oldest clip, upload a new one."""
        self.version += 1
        master = self._ever[MASTER].embed_code
        self.library.replace(master, content=content_of(MASTER, self.version))
        oldest = next(a for a in self._ever.values() if self._is_there(a) and a.title != MASTER)
        self.library.delete(oldest.embed_code)
        self.library.add(self._new())

    def _is_there(self, asset: EmulatedAsset) -> bool:
        return self.library.find(asset.embed_code) is not None

    def _new(self) -> EmulatedAsset:
        self._made += 1
        name = f"clip{self._made}-{MIB + self._dice.randrange(800 * KIB)}.mov"
        self._ever[name] = _asset(name)
        return self._ever[name]


def _asset(name: str) -> EmulatedAsset:
    return video(name, content_of(name), title=name, created_at=int(time.time()))
