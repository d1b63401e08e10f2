# SPDX-License-Identifier: Apache-2.0
"""`serve_mount` over a session that mounts nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from backlotfs.api.rate_limiter import QuotaStatus
from backlotfs.cache.memory import MemoryUse
from backlotfs.catalog.db.rows import SizedCounts, SyncState
from backlotfs.catalog.db.state import sized_counts, sync_state
from backlotfs.catalog.library import Presented
from backlotfs.config.settings import Account, MountSettings
from backlotfs.errors import BacklotError
from backlotfs.fetch.hosts import GetTotals
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.notifier import Notifier
from backlotfs.kernel.passthrough import Passthrough
from backlotfs.kernel.read_requests import ReadContext, ReadCounts
from backlotfs.mount.background import NobodyWaits
from backlotfs.mount.control import unix_socket
from backlotfs.mount.read_path import Metrics
from backlotfs.namespace.attributes import Totals
from backlotfs.open_files.recent_errors import RecentErrors
from backlotfs.source.bandwidth import RecentRate
from tests.fakes.clocks import ManualClock
from tests.fakes.records import row
from tests.fakes.workers import PATIENCE_S

SERVING = import_module("backlotfs.mount.serve")


class _Ready(NobodyWaits):
    """Notes what the mount says once it answers."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def listing(self, assets: int) -> None:
        self._process.listed.append(assets)

    def __call__(self, more: str) -> None:
        self._process.more = more
        self._process._step("ready")


class Process:
    """`serve_mount` with every part that needs a network or a kernel held by the test.

    :ivar steps: what happened, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.steps: list[str] = []
        self.saved = False
        self.unreadable = False  # whether what is saved cannot be read
        self.silent = False  # whether the API answers nothing
        self.error: BacklotError | None = None
        self.queued: set[str] = set()
        self.reading: list[tuple[int, str]] = []
        self.seconds_each = 0.5
        self.more = ""
        self.listed: list[int] = []
        self.handlers: Mapping[signal.Signals, Callable[[], None]] = {}
        self.options: MountOptions | None = None
        self.during: Callable[[], None] = lambda: None
        self.each_minute: Callable[[], None] = lambda: None
        self.settings = MountSettings(
            Account("http://api", "k", "s", profile="main"), Path("/mnt/x"), folder
        )
        catalog = SimpleNamespace(
            library=SimpleNamespace(rows={code: row(code) for code in "ABCDEFGHIJ"}, version=3),
            lists_sources=False,
            last_error=None,
            refreshing=False,
            open_saved=self._open_saved,
            show_saved=self._show_saved,
            presented=Presented(),
            counted=lambda: SizedCounts(4, 1, 10),
            load=lambda _deadline: self._step("load"),
            refresh=self._refresh,
            keep_fresh=self._keep_fresh,
        )
        self.catalog = catalog
        self.stack = SimpleNamespace(
            captions=None,
            catalog=catalog,
            notifier=Notifier(),
            namespace=SimpleNamespace(
                name_of=lambda code: f"{code}.mov", totals=lambda: Totals(10, 4000)
            ),
            session=None,
            api=SimpleNamespace(heard=threading.Event()),
            probes=SimpleNamespace(
                start_backfill=lambda: self._step("crawl"),
                seconds_for=lambda assets: assets * self.seconds_each,
                seconds_until=lambda _code: 41.0,
                is_queued=lambda code: code in self.queued,
            ),
            versions=SimpleNamespace(
                flush=lambda: self._step("flush"),
                known=lambda code: code if code in "ABCD" else None,
                count=lambda rows: SizedCounts(4, 1, len(rows)),
            ),
            db=SimpleNamespace(
                read={
                    sync_state: SyncState(1, 5.0, 5.0, 0, 0, None, 0, 0.0),
                    sized_counts: SizedCounts(4, 1, 10),
                }.__getitem__
            ),
            limiter=SimpleNamespace(
                status=lambda: QuotaStatus(200, 300, None, 0.0, 41.0, (0, 2, 0, 0)),
                counts_credits=True,
            ),
            resolver=SimpleNamespace(refreshes=7, refused=0),
            transport=SimpleNamespace(
                hosts=SimpleNamespace(totals=lambda: GetTotals(0, 0, {}, 2, 1))
            ),
            reading=SimpleNamespace(
                reader=SimpleNamespace(begin=None, open_files=lambda: ["a.mov"]),
                metrics=Metrics(
                    ReadCounts(lambda _pid: "cp", ManualClock()),
                    RecentErrors(ManualClock()),
                    RecentRate(ManualClock()),
                    RecentRate(ManualClock()),
                ),
                disk=None,
                loader=SimpleNamespace(before_open_bytes=5),
                warmer=SimpleNamespace(fetched_bytes=0),
                memory_use=lambda: MemoryUse(4, 2, 1, 0),
                reconciler=SimpleNamespace(pins=None, start=lambda: self._step("pins")),
            ),
            close=lambda: self._step("closed"),
        )
        for name, value in {
            "build_stack": self._build_stack,
            "check_api": lambda *_args: self._step("check_api"),
            "KernelMount": self._kernel_mount,
            "CHECK_S": 0.2,
            "FIRST_ANSWER_S": PATIENCE_S,
        }.items():
            monkeypatch.setattr(SERVING, name, value)
        monkeypatch.setattr(SERVING.signals, "block", lambda: self._step("block"))
        monkeypatch.setattr(SERVING.signals, "serve", self._handle)
        monkeypatch.setattr(SERVING.output, "configure", lambda **_more: self._step("logs"))
        monkeypatch.setattr(SERVING.output, "change_verbosity", lambda _began: self._step("louder"))
        monkeypatch.setattr(SERVING.logging, "shutdown", lambda: None)
        monkeypatch.setattr(SERVING.systemd, "notify", lambda state: self._step(state))
        monkeypatch.setattr(unix_socket, "_folders", lambda: (folder / "run",))

    def _build_stack(
        self, *_arguments: object, progress: Callable[[int], None], **_more: object
    ) -> SimpleNamespace:
        self.progress = progress
        return self.stack

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if self.error is not None and name in ("check_api", "load"):
            raise self.error

    def _handle(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        self.handlers = handlers

    def _keep_fresh(self, *, each_minute: Callable[[], None]) -> None:
        self.each_minute = each_minute
        self._step("keep fresh")

    def _open_saved(self) -> bool:
        self.catalog.refreshing = self.saved
        return self.saved

    def _show_saved(self) -> bool:
        if self.unreadable:
            self._step("unreadable")
        return not self.unreadable

    def _refresh(self, *, full: bool = False, **_more: object) -> None:
        self._step("refresh fully" if full else "refresh")
        self.catalog.last_error = self.error
        self.catalog.refreshing = self.silent

    def _kernel_mount(
        self, _mountpoint: Path, options: MountOptions, binding: str, passthrough: Passthrough
    ) -> SimpleNamespace:
        self.options, self.binding = options, binding

        def run(
            _operations: object,
            context: ReadContext,
            announce: Callable[[], None],
            mounted: Callable[[], None],
        ) -> None:
            self.read_deadline_s, self.read_queued = context.limits
            self._step("run")
            mounted()
            adapter.began.set()
            announce()
            self.during()

        adapter = SimpleNamespace(
            notifier=Notifier(),
            began=threading.Event(),
            passthrough=passthrough,
            interrupted=lambda: False,
            caller=lambda: 1,
            waiting_reads=lambda: self.reading,
        )
        return SimpleNamespace(
            adapter=adapter, run=run, stop=lambda last: self._step(f"stop {last.__name__}")
        )

    def serve(self) -> list[str]:
        """Serve until the session ends; what happened."""
        SERVING.serve_mount(self.settings, _Ready(self))
        return self.steps
