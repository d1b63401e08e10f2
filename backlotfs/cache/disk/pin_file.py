# SPDX-License-Identifier: Apache-2.0
"""The pin file stores, over restarts, which versions are pinned in the disk cache."""

from __future__ import annotations

import json
import threading
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.locked_directory import LockedDirectory

#: The name of the file in the folder.
PINS_FILE = "pins"


class Pin(NamedTuple):
    """A version of a source that is pinned, or may be pinned."""

    embed_code: str
    validator: str

    @property
    def word(self) -> int:
        """The word of the version in rows; see `KeyHash`."""
        return source_tag(*self).word

    @property
    def size(self) -> int:
        """The size of the version, from the end of its validator; 0 if it has none."""
        digits = self.validator.rpartition("/")[2]
        return int(digits) if digits.isascii() and digits.isdecimal() else 0


class PinFile:
    """The pins and their file. Thread-safe."""

    def __init__(self, folder: LockedDirectory) -> None:
        """Read the saved pins; there are none if the file is malformed."""
        self._folder = folder
        self._lock = threading.Lock()
        try:
            saved = json.loads(folder.text(PINS_FILE))
            self._pins = {Pin(str(embed), str(validator)) for embed, validator in saved}
        except (OSError, ValueError, TypeError, RecursionError):
            self._pins = set()

    def all(self) -> list[Pin]:
        """All pins, sorted."""
        with self._lock:
            return sorted(self._pins)

    def change(self, *, add: AbstractSet[Pin], remove: AbstractSet[Pin]) -> None:
        """Change the pins and save them atomically; in memory they change even if that fails.

        :raises OSError: the changes were not saved.
        """
        with self._lock:
            self._pins = (self._pins | add) - remove
            self._folder.replace(PINS_FILE, json.dumps(sorted(self._pins), indent=0))
