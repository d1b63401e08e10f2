# SPDX-License-Identifier: Apache-2.0
"""A folder as DEST: workers make sealed parts in its workspace, the client gives them their names.

So the folder is always as one machine's export leaves it: the same workspace and journal, a digest
in the journal before a file has its name. Either kind of export continues what the other began.
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
    """A folder whose workspace was claimed. Any thread may call it; `close` it in the end."""

    def __init__(self, destination: Destination, workspace: Workspace, *, overwrite: bool) -> None:
        """Read the manifest.

        :raises SettingsError: it is damaged. :raises OSError: it cannot be read or written.
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
        """The names of earlier exports into the folder."""
        return self._manifest.records.digests

    def admit(self, assets: Sequence[Asset]) -> None:
        """Nothing is to be noted: a part in the workspace is nobody else's."""

    def settled(self, item: Item) -> Settled:
        """Whether an item has to be copied: see `export.exporter.settled`."""
        found = settled(item, self._destination, self._manifest.records, overwrite=self._overwrite)
        if found.outcome is not None and found.outcome.state is State.UNCHANGED:
            discard_part(self._workspace, item.name)
        return found._replace(outcome=found.outcome if found.is_certain else None)

    def copy(self, item: Item, source: Source, before: Settled, send: Send) -> Made:
        """Have the part made, and publish it. :raises TaskFailed: it is not there."""
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
        except UnsafeDestination as error:  # a worker that was given up may have removed the part
            raise TaskFailed(Failed(Trouble.AGAIN, str(error))) from None
        return made

    def close(self) -> None:
        """Write the manifest. :raises SettingsError, OSError: see `ManifestWriter.close`."""
        self._workspace.remove(self._proof)
        self._manifest.close()
