# SPDX-License-Identifier: Apache-2.0
"""Runs tasks of a cluster in this process, after a trip through pickle; and an export with them."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backlotfs.cluster.exporter import ClusterExporter, Target
from backlotfs.cluster.folder import FolderTarget
from backlotfs.cluster.library import ClusterLibrary, find_assets
from backlotfs.cluster.objects import Objects
from backlotfs.cluster.store import StoreTarget
from backlotfs.errors import BacklotError
from backlotfs.export.destination import Destination
from backlotfs.export.exporter import Outcome, State
from tests.support.unmounted_library import UnmountedLibrary

#: Assets that are under way at once.
WINDOW = 4


class LocalWorkers:
    """In the place of `cluster.pool.Pool`.

    :ivar arguments: of all tasks, as Dask would print them.
    :ivar dying: the numbers of tasks whose worker dies before it can begin.
    """

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.dying: set[int] = set()

    def run(
        self,
        kind: str,
        function: Callable[[Any], Any],
        argument: Any,
        _reached: Callable[[int], None],
    ) -> Any:
        """See `Pool.run`."""
        self.arguments.append(f"{kind} {argument!r}")
        if len(self.arguments) in self.dying:
            raise BacklotError("the workers that had it died")
        return pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(argument)))))


class Exports:
    """Exports of one library by these workers."""

    def __init__(self, library: UnmountedLibrary) -> None:
        self.library = library
        self.workers = LocalWorkers()
        self.moved_bytes = 0

    def into_folder(self, folder: Path, *, overwrite: bool = False) -> dict[str, Outcome]:
        """Export everything into a folder."""
        with Destination.open(folder, make=True) as place, place.claim() as workspace:
            target = FolderTarget(place, workspace, overwrite=overwrite)
            try:
                return self._run(target)
            finally:
                target.close()

    def into_store(self, objects: Objects, *, overwrite: bool = False) -> dict[str, Outcome]:
        """Export everything into a store."""
        target = StoreTarget(objects, overwrite=overwrite, stop=threading.Event())
        try:
            return self._run(target)
        finally:
            target.close()

    def _run(self, target: Target) -> dict[str, Outcome]:
        stack, stop = self.library.stack, threading.Event()
        exporter = ClusterExporter(
            ClusterLibrary(stack, self.library.account, stop),
            target,
            self.workers.run,
            window=lambda: WINDOW,
            moved=self._moved,
            finished=lambda _outcome: None,
            stop=stop,
        )
        found = exporter.run(sorted(find_assets(stack.namespace, "/")))
        return {outcome.name: outcome for outcome in found}

    def _moved(self, count_bytes: int) -> None:
        self.moved_bytes += count_bytes


def states(outcomes: dict[str, Outcome]) -> dict[str, State]:
    """Name to state."""
    return {name: outcome.state for name, outcome in outcomes.items()}
