# SPDX-License-Identifier: Apache-2.0
"""A folder as DEST: workers make sealed parts in its workspace; the client renames them.

So the folder has the same form as after an export on one machine: the same workspace and journal,
and the digest is in the journal before a file gets its final name. Both kinds of export can
continue each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence

from backlotfs.cluster.exporter import Send, TaskFailed
from backlotfs.cluster.library import Asset
from backlotfs.cluster.tasks import Checks, Failed, FolderTask, Made, Source, Trouble
from backlotfs.cluster.worker import copy_to_folder
from backlotfs.export.destination import PROBE, Destination, UnsafeDestination, Workspace
from backlotfs.export.exporter import Settled, State, settled
from backlotfs.export.file_copy import MadePart, discard_part, publish_part
from backlotfs.export.items import Item
from backlotfs.export.manifest import ManifestWriter


class FolderTarget:
    """A folder whose workspace was claimed. Any thread may call it; call `close` at the end."""

    def __init__(self, destination: Destination, workspace: Workspace, *, overwrite: bool) -> None:
        """Read the manifest.

        :raises SettingsError: the manifest is damaged.
        :raises OSError: the folder cannot be read or written.
        """
        self._destination = destination
        self._workspace = workspace
        self._overwrite = overwrite
        self._manifest = ManifestWriter(destination, workspace)
        self._folder = str(destination.path.absolute())
        self._proof = f"{PROBE}{secrets.token_hex(8)}"
        workspace.replace(self._proof, b"")
        self.checks = Checks(None, self._folder, self._proof)

    @property
    def exported(self) -> Collection[str]:
        """The names of the files that were exported into the folder."""
        return self._manifest.records.digests

    def admit(self, assets: Sequence[Asset]) -> None:
        """Do nothing: only exports write into the workspace, so no names have to be recorded."""

    def settled(self, item: Item) -> Settled:
        """Decide whether an item has to be copied: see `export.exporter.settled`."""
        found = settled(item, self._destination, self._manifest.records, overwrite=self._overwrite)
        if found.outcome is not None and found.outcome.state is State.UNCHANGED:
            discard_part(self._workspace, item.name)
        return found._replace(outcome=found.outcome if found.is_certain else None)

    def copy(self, item: Item, source: Source, before: Settled, send: Send) -> Made:
        """Let a worker make the part, and publish it. :raises TaskFailed: the file is not there."""
        made: Made = send(
            "copy", copy_to_folder, lambda now: FolderTask(now, self._folder, item.name)
        )
        part = MadePart(made.sha256, made.size_bytes, made.mtime_ns)
        try:
            publish_part(
                item.name,
                part,
                source.mtime_ns,
                self._destination,
                self._workspace,
                self._manifest,
                expected=before.found,
            )
        except UnsafeDestination as error:  # an earlier task of this file may have removed the part
            raise TaskFailed(Failed(Trouble.AGAIN, str(error))) from None
        return made

    def close(self) -> None:
        """Write the manifest. :raises SettingsError, OSError: see `ManifestWriter.close`."""
        self._workspace.remove(self._proof)
        self._manifest.close()
