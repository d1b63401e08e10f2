"""Which versions of which sources stay on the disk, over restarts."""

from __future__ import annotations

import json
import threading
from typing import NamedTuple

from backlotfs.reading.disk.claimed_folder import ClaimedFolder
from backlotfs.reading.disk.source_tag import source_tag

_FILE = "pins"


class Pin(NamedTuple):
    """One version of one source."""

    embed_code: str
    validator: str

    @property
    def word(self) -> int:
        """What stands for it in rows."""
        return source_tag(*self).word


class PinBook:
    """The pins and their file. Thread-safe."""

    def __init__(self, folder: ClaimedFolder) -> None:
        """Read what was saved; none where it cannot be understood."""
        self._folder = folder
        self._lock = threading.Lock()
        try:
            saved = json.loads(folder.text(_FILE))
            self._pins = {Pin(str(embed), str(validator)) for embed, validator in saved}
        except (OSError, ValueError, TypeError, RecursionError):
            self._pins = set()

    def all(self) -> list[Pin]:
        """Every pin, in order."""
        with self._lock:
            return sorted(self._pins)

    def change(
        self, *, add: frozenset[Pin] = frozenset(), remove: frozenset[Pin] = frozenset()
    ) -> None:
        """Save the pins with these changes, whole or not at all; in memory they hold in any case.

        :raises OSError: they were not saved.
        """
        with self._lock:
            self._pins = (self._pins | add) - remove
            self._folder.replace(_FILE, json.dumps(sorted(self._pins), indent=0))
