# SPDX-License-Identifier: Apache-2.0
"""The opened libraries of this process: one for each different set of settings.

File systems are made in each thread and sent to other processes. A library is opened when the first
file system needs it. All file systems with the same settings share its memory, connections and API
credits. A forked process opens its own library, because threads and SQLite connections cannot be
used after a fork. All libraries are closed when the process exits normally.
"""

from __future__ import annotations

import atexit
import os
import threading

from backlotfs.config.settings import MountSettings
from backlotfs.mount.unmounted import OpenedLibrary, open_library


class _Place:
    """An entry for one library. ``lock`` is held while the library is opened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.library: OpenedLibrary | None = None


_lock = threading.Lock()
_places: dict[MountSettings, _Place] = {}
#: The libraries of the parent process of a fork. They are neither used nor closed here. The
#: references are kept, so that their objects are not finalized in this process.
_inherited: list[dict[MountSettings, _Place]] = []


def opened_library(settings: MountSettings) -> OpenedLibrary:
    """The library with these settings; it is opened if necessary. Any thread may call it.

    :raises BacklotError: the library cannot be opened; the next call tries again.
    """
    with _lock:
        place = _places.setdefault(settings, _Place())
    with place.lock:
        if place.library is None:
            place.library = open_library(settings)
        return place.library


def close_libraries() -> None:
    """Close all opened libraries. A later call of `opened_library` opens a library again."""
    with _lock:
        places = list(_places.values())
        _places.clear()
    for place in places:
        with place.lock:
            library, place.library = place.library, None
        if library is not None:
            library.close()


def _begin_anew() -> None:
    global _lock, _places
    _inherited.append(_places)
    _lock, _places = threading.Lock(), {}


atexit.register(close_libraries)
os.register_at_fork(after_in_child=_begin_anew)
