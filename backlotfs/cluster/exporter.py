# SPDX-License-Identifier: Apache-2.0
"""Exports many assets by the workers of a cluster; names those that failed.

Each asset has a thread of the client while it is under way: it finds out the version, has the
tasks done, and records the result. There are a few more assets under way than the workers have
threads, so that no worker waits and no URL grows old in a queue.
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

#: Attempts at a task or asset that fails, and the pause after the first; each is longer.
ATTEMPTS, RETRY_PAUSE_S = 5, 1.0
#: URLs in a row that a host may refuse, each before it was used for so long.
MOST_URLS, USED_S = 6, 30.0
#: Versions of an asset that may change while it is copied.
MOST_VERSIONS = 3
#: Assets whose names are looked at together.
CHUNK = 256
#: Time between two looks whether another thread is needed.
POLL_S = 0.5

#: Sends a task until it succeeds: its kind, the function, and what makes its argument of a source.
Send = Callable[[str, Callable[[Any], Any], Callable[[Source], Any]], Any]
#: Runs a task on a worker: see `pool.Pool.run`.
Run = Callable[[str, Callable[[Any], Any], Any, Callable[[int], None]], Any]


class TaskFailed(BacklotError):
    """A task of an asset failed for good, or the asset has to be begun anew."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


class Target(Protocol):
    """DEST: `folder.FolderTarget` or `store.StoreTarget`."""

    def admit(self, assets: Sequence[Asset]) -> None:
        """The next assets are these."""

    def settled(self, item: Item) -> Settled:
        """Whether an item has to be copied."""

    def copy(self, item: Item, source: Source, before: Settled, send: Send) -> Made:
        """Copy it, verify it and record it. :raises TaskFailed: it is not recorded."""


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

        :param window: says how many tasks are sent ahead.
        :param moved: gets the count of bytes copied, from any thread; less than 0 for what has to
            be copied again.
        :param finished: gets each outcome as it is known, from any thread.
        :param stop: set: give up what is under way.
        """
        self._library = library
        self._target = target
        self._run_task = run_task
        self._window = window
        self._moved = moved
        self._finished = finished
        self._stop = stop

    def run(self, assets: Sequence[Asset]) -> list[Outcome]:
        """Export all assets; their outcomes, in the same order. Ctrl-C ends it.

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
        """Have a task done: again with another URL or after a pause, if that may help.

        :raises TaskFailed: it does not.
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
        """Get another URL, once for all tasks that had the refused one."""
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
        """Nothing was copied after all. At Ctrl-C the bar stays where it is."""
        if not self._stop.is_set():
            self._count(-self._moved_bytes)

    def settle(self, size_bytes: int) -> None:
        """All was copied, whatever the tasks have said so far."""
        self._count(size_bytes - self._moved_bytes)


class _Reached:
    """Makes counts of what one task says of itself: how many bytes it has copied in all."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._reached = 0

    def reached(self, so_far_bytes: int) -> None:
        count_bytes, self._reached = so_far_bytes - self._reached, so_far_bytes
        self._count(count_bytes)
