# SPDX-License-Identifier: Apache-2.0
"""Verifies that the objects of a store have the bytes of its manifest."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backlotfs.cluster.objects import Objects, ObjectState, reason_of
from backlotfs.cluster.store import Patience, StoreManifest
from backlotfs.errors import Interrupted
from backlotfs.export.destination import MANIFEST, TIMES, WORKSPACE, is_reserved, reserved_reason
from backlotfs.export.items import Problem
from backlotfs.export.verifying import MISSING
from backlotfs.log.terminal import counted


class StoredCopy:
    """The objects that exports have put into a store.

    :ivar entries: name to digest of the exported objects.
    :ivar unfinished: the number of names that an unfinished export has begun.
    """

    def __init__(self, objects: Objects) -> None:
        """Read the manifest, and list the store.

        :raises SettingsError: the manifest is damaged, or the store cannot be read.
        """
        self._objects = objects
        patiently = Patience(objects.url, threading.Event())
        manifest = StoreManifest(objects, patiently)
        self.entries = manifest.records.digests
        self.unfinished = len(manifest.begun)
        self._begun = manifest.begun
        self._sizes = patiently(objects.sizes)

    @property
    def size_bytes(self) -> int:
        """Bytes of the objects that the manifest names."""
        return sum(self._sizes.get(name, 0) for name in self.entries)

    def strangers(self) -> list[str]:
        """The objects that are not in the manifest and that no export has begun."""
        return sorted(
            name
            for name in self._sizes.keys() - self.entries.keys() - self._begun
            if name not in (MANIFEST, TIMES) and not name.startswith(f"{WORKSPACE}/")
        )

    def check(
        self, name: str, digest: str, source_bytes: int | None, moved: Callable[[int], None]
    ) -> Problem | None:
        """Check one object of the manifest: see `export.verifying.check_file`."""
        if is_reserved(name):
            return Problem(name, reserved_reason())
        try:
            found = self._objects.look(name)
            if found is None:
                return Problem(name, MISSING)
            if source_bytes is not None and found.size_bytes != source_bytes:
                return Problem(
                    name,
                    f"has {counted(found.size_bytes, 'byte')}, its source {source_bytes}; "
                    f"export it again",
                )
            return self._compared(name, digest, found, moved)
        except FileNotFoundError:
            return Problem(name, MISSING)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001  # each store has errors of its own
            return Problem(name, reason_of(error))

    def _compared(
        self, name: str, digest: str, found: ObjectState, moved: Callable[[int], None]
    ) -> Problem | None:
        digest_found = self._objects.digest_of(name, found.size_bytes, moved)
        if self._objects.look(name) != found:
            return Problem(name, "was changed while it was read; run this again")
        if digest_found != digest:
            return Problem(
                name,
                "does not have the bytes of the manifest; remove it from the store, then export it "
                "again",
            )
        return None
