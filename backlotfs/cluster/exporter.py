# SPDX-License-Identifier: Apache-2.0
"""Exports many assets by the workers of a cluster, and reports those that failed.

A thread of the client exports one asset at a time: it finds out the version, runs the tasks, and
records the result. The number of these threads is limited (see `pool.Pool.window`): there are more
than the workers have threads, so that no worker waits, but so few that URLs do not wait long in a
queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from backlotfs.cluster.library import Asset, ClusterLibrary
from backlotfs.cluster.pool import SchedulerLost
from backlotfs.cluster.tasks import Failed, Made, Source, Trouble
from backlotfs.errors import BacklotError
from backlotfs.export.exporter import Outcome, Settled, State
from backlotfs.export.items import Item, reason_of

#: The most attempts at a task or an asset, and the pause after the first one. Pauses get longer.
ATTEMPTS, RETRY_PAUSE_S = 5, 1.0
#: How many URLs in a row a host may refuse, if each was refused within this time.
MOST_URLS, USED_S = 6, 30.0
#: After so many changes of its version, an asset has failed.
MOST_VERSIONS = 3
#: The number of assets that are passed to `Target.admit` together.
CHUNK = 256
#: Time between two checks whether another thread is needed.
POLL_S = 0.5

#: Sends a task until it succeeds: its kind, its function, and what makes an argument of a source.
Send = Callable[[str, Callable[[Any], Any], Callable[[Source], Any]], Any]
#: Runs a task on a worker: see `pool.Pool.run`.
Run = Callable[[str, Callable[[Any], Any], Any, Callable[[int], None]], Any]


class TaskFailed(BacklotError):
    """A task of an asset has failed and is not sent again, or the asset has to be copied again."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


class Target(Protocol):
    """DEST: `folder.FolderTarget` or `store.StoreTarget`."""

    def admit(self, assets: Sequence[Asset]) -> None:
        """Prepare for the next assets. It is called before their export begins."""

    def settled(self, item: Item) -> Settled:
        """Decide whether an item has to be copied."""

    def copy(self, item: Item, source: Source, before: Settled, send: Send) -> Made:
        """Copy an item, verify the copy and record it. :raises TaskFailed: it is not recorded."""


class ClusterExporter:
    """Copies assets to a target."""

    def __init__(
        self,
        library: ClusterLibrary,
        target: Target,
        run_task: Run,
        *,
        window: Callable[[], int],
        moved: Callable[[int], None],
        finished: Callable[[Outcome], None],
        stop: threading.Event,
    ) -> None:
        """Do nothing yet.

        :param window: returns the most assets that are exported at the same time.
        :param moved: called with the number of bytes copied, from any thread; the number is
            negative for bytes that have to be copied again.
        :param finished: called with each outcome as soon as it is known, from any thread.
        :param stop: if it is set, end the running exports.
        """
        self._library = library
        self._target = target
        self._run_task = run_task
        self._window = window
        self._moved = moved
        self._finished = finished
        self._stop = stop

    def run(self, assets: Sequence[Asset]) -> list[Outcome]:
        """Export all assets, and return their outcomes in the same order. Ctrl-C ends the export.

        :raises BacklotError: the destination or the scheduler cannot be used any more.
        """
        outcomes: list[Outcome | None] = [None] * len(assets)
        errors: list[BaseException] = []
        numbers = self._numbers(assets)
        taking = threading.Lock()

        def work() -> None:
            try:
                while not self._stop.is_set():
                    with taking:
                        number = next(numbers, None)
                    if number is None:
                        return
                    outcome = self._export(assets[number])
                    outcomes[number] = outcome
                    self._finished(outcome)
            except BaseException as error:  # noqa: BLE001  # raised again on the thread of `run`
                errors.append(error)
                self._stop.set()

        threads: list[threading.Thread] = []
        try:
            while True:
                while len(threads) < min(self._window(), len(assets)):
                    threads.append(threading.Thread(target=work, name="asset", daemon=True))
                    threads[-1].start()
                alive = next((thread for thread in threads if thread.is_alive()), None)
                if alive is None:
                    break
                alive.join(POLL_S)
        except BaseException:
            self._stop.set()
            for thread in threads:
                thread.join()
            raise
        if errors:
            raise errors[0]
        return [outcome for outcome in outcomes if outcome is not None]

    def _numbers(self, assets: Sequence[Asset]) -> Iterator[int]:
        for start in range(0, len(assets), CHUNK):
            chunk = assets[start : start + CHUNK]
            self._target.admit(chunk)
            yield from range(start, start + len(chunk))

    def _export(self, asset: Asset) -> Outcome:
        """Export one asset, again after a temporary failure."""
        size_bytes = max(0, asset.row.size)
        attempts = versions = 0
        while True:
            try:
                return self._attempt(asset)
            except TaskFailed as error:
                trouble, reason = error.failed
            except OSError as error:
                trouble, reason = Trouble.FINAL, reason_of(error)
            except SchedulerLost:
                raise  # no other asset can be copied either
            except BacklotError as error:
                if self._stop.is_set():
                    raise
                trouble, reason = Trouble.AGAIN if error.transient else Trouble.FINAL, str(error)
            if trouble is Trouble.CHANGED:
                versions += 1
            else:
                attempts += 1
            spent = attempts == ATTEMPTS or versions == MOST_VERSIONS
            if trouble is Trouble.FINAL or spent or self._stop.wait(RETRY_PAUSE_S * attempts):
                return Outcome(asset.name, State.FAILED, size_bytes, reason=reason, can_pass=True)

    def _attempt(self, asset: Asset) -> Outcome:
        known = self._library.known(asset)
        if known is not None:
            before = self._target.settled(Item(asset.name, asset.name, *known))
            if before.outcome is not None:
                self._moved(known[0])
                return before.outcome
        source = self._library.source(asset)
        size_bytes = source.version.size
        item = Item(asset.name, asset.name, size_bytes, source.mtime_ns)
        before = self._target.settled(item)
        if before.outcome is not None:
            self._moved(size_bytes)
            return before.outcome
        sender = _Sender(self._library, self._run_task, source, self._moved, self._stop)
        try:
            made = self._target.copy(item, source, before, sender.send)
        except BaseException:
            sender.take_back()
            raise
        sender.settle(size_bytes)
        return Outcome(asset.name, State.COPIED, size_bytes, made.sha256)


class _Sender:
    """Sends the tasks of one asset, which share its URL. Any thread may call `send`."""

    def __init__(
        self,
        library: ClusterLibrary,
        run_task: Run,
        source: Source,
        moved: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._library = library
        self._run_task = run_task
        self._source = source
        self._stop = stop
        self._renewing = threading.Lock()
        self._renewed, self._renewed_s = 0, time.monotonic()
        self._counting = threading.Lock()
        self._moved = moved
        self._moved_bytes = 0

    def send(
        self,
        kind: str,
        function: Callable[[Any], Any],
        argument_of: Callable[[Source], Any],
    ) -> Any:
        """Run a task. Repeat it with another URL or after a pause, if this may help.

        :raises TaskFailed: the task has failed in all attempts, or a repetition cannot help.
        """
        attempts = 0
        while True:
            source = self._source
            said = _Reached(self._count)
            try:
                result = self._run_task(kind, function, argument_of(source), said.reached)
            except SchedulerLost:
                raise
            except BacklotError as error:
                if self._stop.is_set():
                    raise
                result = Failed(Trouble.AGAIN, str(error))
            if not isinstance(result, Failed):
                return result
            said.reached(0)
            if result.trouble is Trouble.URL:
                self._renew(source, result)
                continue
            attempts += 1
            again = result.trouble is Trouble.AGAIN and attempts < ATTEMPTS
            if not again or self._stop.wait(RETRY_PAUSE_S * attempts):
                self._give_up(source, result)

    def _give_up(self, source: Source, failed: Failed) -> None:
        """:raises TaskFailed: always."""
        if failed.trouble is Trouble.CHANGED:
            self._library.changed(source)
        if failed.trouble in (Trouble.CHANGED, Trouble.ANEW):
            raise TaskFailed(failed)
        raise TaskFailed(Failed(Trouble.FINAL, failed.reason))

    def _renew(self, refused: Source, failed: Failed) -> None:
        """Get another URL, once for all tasks that had the refused one.

        :raises TaskFailed: the host has refused too many URLs in a row.
        """
        with self._renewing:
            if self._source is not refused:
                return
            now_s = time.monotonic()
            self._renewed = 1 if now_s - self._renewed_s > USED_S else self._renewed + 1
            self._renewed_s = now_s
            if self._renewed > MOST_URLS:
                raise TaskFailed(Failed(Trouble.FINAL, failed.reason))
            self._source = self._library.renewed(refused)

    def _count(self, count_bytes: int) -> None:
        with self._counting:
            self._moved_bytes += count_bytes
        self._moved(count_bytes)

    def take_back(self) -> None:
        """Subtract all counted bytes, because the copy failed. After Ctrl-C, leave them counted."""
        if not self._stop.is_set():
            self._count(-self._moved_bytes)

    def settle(self, size_bytes: int) -> None:
        """Count the bytes that the tasks have not reported: the whole asset is copied."""
        self._count(size_bytes - self._moved_bytes)


class _Reached:
    """Converts the total of bytes that one task reports into the bytes since its last report."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._reached = 0

    def reached(self, so_far_bytes: int) -> None:
        count_bytes, self._reached = so_far_bytes - self._reached, so_far_bytes
        self._count(count_bytes)
