"""Which versions of which sources stay on the disk, over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.locked_directory import LockedDirectory

#: Its name in the folder.
PINS_FILE = "pins"


class Pin(NamedTuple):
    """One version of one source."""

    embed_code: str
    validator: str

    @property
    def word(self) -> int:
        """What stands for it in rows."""
        return source_tag(*self).word

    @property
    def size(self) -> int:
        """Bytes of the version, which its validator ends with; 0 where it does not."""
        digits = self.validator.rpartition("/")[2]
        return int(digits) if digits.isascii() and digits.isdecimal() else 0


class PinFile:
    """The pins and their file. Thread-safe."""

    def __init__(self, folder: LockedDirectory) -> None:
        """Read what was saved; none where it cannot be understood."""
        self._folder = folder
        self._lock = threading.Lock()
        try:
            saved = json.loads(folder.text(PINS_FILE))
            self._pins = {Pin(str(embed), str(validator)) for embed, validator in saved}
        except (OSError, ValueError, TypeError, RecursionError):
            self._pins = set()

    def all(self) -> list[Pin]:
        """Every pin, in order."""
        with self._lock:
            return sorted(self._pins)

    def change(self, *, add: AbstractSet[Pin], remove: AbstractSet[Pin]) -> None:
        """Save the pins with these changes, whole or not at all; in memory they hold in any case.

        :raises OSError: they were not saved.
        """
        with self._lock:
            self._pins = (self._pins | add) - remove
            self._folder.replace(PINS_FILE, json.dumps(sorted(self._pins), indent=0))
