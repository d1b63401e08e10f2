"""The life of one mount process, over a session that mounts nothing."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backlotfs.catalog.rate_budget import BudgetStatus
from backlotfs.catalog.rows import SyncState
from backlotfs.control import address
from backlotfs.control.client import ask
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    FuseUnusable,
    RemoteUnavailable,
    SettingsError,
)
from backlotfs.kernel.session import Memory, MountOptions
from backlotfs.reading.memory_use import MemoryUse
from backlotfs.reading.read_counts import ReadCounts
from backlotfs.remote.get_counts import GetCounts
from backlotfs.remote.get_record import NoMeter
from backlotfs.settings import Account, MountSettings
from tests.unit.fakes import row

SERVING = import_module("backlotfs.cli.serving")


class Process:
    """`serve_mount` with every part that needs a network or a kernel held by the test.

    :ivar steps: what happened, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.steps: list[str] = []
        self.saved = False
        self.error: BacklotError | None = None
        self.handlers: Mapping[signal.Signals, Callable[[], None]] = {}
        self.options: MountOptions | None = None
        self.during: Callable[[], None] = lambda: None
        self.settings = MountSettings(
            Account("http://api", "k", "s", profile="main"), Path("/mnt/x"), folder
        )
        catalog = SimpleNamespace(
            library=SimpleNamespace(rows={code: row(code) for code in "ABCDEFGHIJ"}, version=3),
            last_error=None,
            refreshing=False,
            open_saved=lambda: self.saved,
            load=lambda _deadline: self._step("load"),
            refresh=self._refresh,
            keep_fresh=lambda **_hooks: self._step("keep fresh"),
        )
        self.catalog = catalog
        self.stack = SimpleNamespace(
            catalog=catalog,
            namespace=None,
            reader=SimpleNamespace(begin=None),
            session=None,
            sizer=SimpleNamespace(
                crawl=lambda: self._step("crawl"), seconds_for=lambda assets: assets * 2.0
            ),
            book=SimpleNamespace(
                flush=lambda: self._step("flush"),
                known=lambda code: code if code in "ABCD" else None,
                unavailable=lambda found: found.embed_code == "E",
            ),
            store=SimpleNamespace(state=lambda: SyncState(1, 5.0, 5.0, 0, 0, None)),
            purse=SimpleNamespace(snapshot=lambda: BudgetStatus(200, 300, None, 0.0, (0, 0, 0))),
            resolver=SimpleNamespace(refreshes=7),
            reads=ReadCounts(lambda _pid: "cp"),
            gets=GetCounts(NoMeter()),
            lines=SimpleNamespace(hedges=lambda: (2, 1)),
            disk=None,
            warmer=SimpleNamespace(fetched_bytes=0),
            memory_use=lambda: MemoryUse(4, 2, 1, 0),
            keeper=SimpleNamespace(pins=None, start=lambda: self._step("pins")),
            close=lambda: self._step("closed"),
        )
        for name, value in {
            "build_stack": lambda *_args, **_more: self.stack,
            "greet": lambda *_args: self._step("greet"),
            "MountSession": self._session,
            "CHECK_S": 0.2,
        }.items():
            monkeypatch.setattr(SERVING, name, value)
        monkeypatch.setattr(SERVING.signals, "block", lambda: self._step("block"))
        monkeypatch.setattr(SERVING.signals, "serve", self._handle)
        monkeypatch.setattr(SERVING.logs, "configure", lambda **_more: self._step("logs"))
        monkeypatch.setattr(SERVING.logging, "shutdown", lambda: None)
        monkeypatch.setattr(SERVING.service, "notify", lambda state: self._step(state))
        monkeypatch.setattr(address, "_folder", lambda: folder / "run")

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if self.error is not None and name in ("greet", "load"):
            raise self.error

    def _handle(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        self.handlers = handlers

    def _refresh(self, *, full: bool = False) -> None:
        self._step("refresh fully" if full else "refresh")
        self.catalog.last_error = self.error

    def _session(self, _mountpoint: Path, options: MountOptions) -> SimpleNamespace:
        self.options = options

        def run(
            _operations: object,
            _begin: object,
            _clock: object,
            announce: Callable[[], None],
            _counts: object,
        ) -> None:
            self._step("run")
            announce()
            self.during()

        return SimpleNamespace(
            run=run,
            stop=lambda last: self._step(f"stop {last.__name__}"),
            interrupted=lambda: False,
            caller=lambda: 1,
            began=lambda: None,
            invalidate=lambda _names: None,
            hold_back=lambda _while_true: None,
        )

    def serve(self) -> list[str]:
        """Serve until the session ends; what happened."""
        SERVING.serve_mount(self.settings, lambda: self._step("ready"))
        return self.steps


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Process:
    """Ready to serve."""
    return Process(monkeypatch, tmp_path)


def test_a_first_mount(process: Process) -> None:
    """Signals are blocked before anything else; the library is listed before it is mounted."""
    assert process.serve() == [
        "block", "logs", "greet", "STATUS=listing the library", "load", "run", "ready",
        "READY=1\nSTATUS=mounted", "keep fresh", "crawl", "pins", "closed",
    ]  # fmt: skip


def test_with_a_saved_catalog(process: Process) -> None:
    """It is mounted at once, and the API is looked at beside."""
    process.saved = True
    steps = process.serve()
    assert "greet" not in steps
    assert steps.index("ready") < steps.index("refresh") < steps.index("crawl")


def test_a_saved_catalog_and_no_api(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """Is a note in the log; the mount stays."""
    process.saved, process.error = True, RemoteUnavailable("down")
    with caplog.at_level(logging.WARNING):
        assert "crawl" in process.serve()
    assert "STALE" in caplog.text


def test_a_saved_catalog_and_refused_credentials(process: Process) -> None:
    """End it all the same."""
    process.saved, process.error = True, CredentialsRefused("401")
    with pytest.raises(CredentialsRefused):
        process.serve()
    assert "crawl" not in process.steps
    assert any(step.startswith("stop") for step in process.steps)
    assert process.steps[-1] == "closed"


@pytest.mark.parametrize("error", [CredentialsRefused("401"), RemoteUnavailable("down")])
def test_a_first_mount_that_fails(process: Process, error: BacklotError) -> None:
    """Nothing is mounted."""
    process.error = error
    with pytest.raises(type(error)):
        process.serve()
    assert "run" not in process.steps


def test_a_log_that_cannot_be_written(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a settings error with its remedy."""

    def fail(**_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SERVING.logs, "configure", fail)
    with pytest.raises(SettingsError, match="Permission denied; name a file with --log-file"):
        process.serve()


@pytest.mark.parametrize(
    ("layouts", "memory"), [(("flat",), Memory.long()), (("flat", "dates"), Memory.brief())]
)
def test_what_the_kernel_remembers(
    process: Process, layouts: tuple[str, ...], memory: Memory, tmp_path: Path
) -> None:
    """Long only where every file is in the root."""
    process.settings = MountSettings(
        process.settings.account, Path("/mnt/x"), tmp_path, layouts=layouts
    )
    process.serve()
    assert process.options == MountOptions("backlot:main", memory)


def test_signals(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh, a dump of the state, and an orderly end; before the mount, an end at once."""
    exits: list[int] = []

    def end(code: int) -> None:
        exits.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(SERVING.os, "_exit", end)
    monkeypatch.setattr(SERVING.faulthandler, "dump_traceback", lambda **_more: None)

    def too_early(*_args: object) -> None:
        process.handlers[signal.SIGTERM]()

    with monkeypatch.context() as early:
        early.setattr(SERVING, "greet", too_early)
        with pytest.raises(SystemExit):
            process.serve()
    assert exits == [128 + signal.SIGTERM]

    def during() -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
            process.handlers[number]()

    process.during = during
    steps = process.serve()
    assert "refresh" in steps
    assert any(step.startswith("stop") for step in steps)
    assert "STOPPING=1" in steps


def test_questions_are_answered(process: Process) -> None:
    """As long as it is mounted."""
    answers: list[dict[str, Any]] = []

    def during() -> None:
        answers.extend(ask(Path("/mnt/x"), command) for command in ("status", "stats"))
        ask(Path("/mnt/x"), "refresh", full=True)

    process.during = during
    assert "refresh fully" in process.serve()
    answer, stats = answers
    assert (answer["source"], answer["stale"]) == ("backlot:main", False)
    assert answer["sizes"] == {"sized": 4, "missing": 1, "total": 10, "seconds_left": 10.0}
    assert answer["credits"]["credits_left"] == 200
    assert [*stats["memory"].values(), *stats["hedges"].values()] == [4, 2, 1, 0, 2, 1]
    assert (stats["url_refreshes"], stats["disk"], stats["amplification"]) == (7, None, None)
    with pytest.raises(BacklotError):
        ask(Path("/mnt/x"), "status")


def test_without_a_control_socket(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount works."""

    def fail(*_args: object) -> None:
        raise PermissionError(1, "not ours")

    monkeypatch.setattr(SERVING, "ControlServer", fail)
    with caplog.at_level(logging.WARNING):
        assert "ready" in process.serve()
    assert "`status`, `stats` and `refresh` will not work: not ours" in caplog.text


def test_a_session_that_cannot_mount(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is the process's, and the control socket is gone."""

    def fail() -> None:
        raise FuseUnusable("libfuse could not mount")

    process.during = fail
    with pytest.raises(FuseUnusable):
        process.serve()
    with pytest.raises(BacklotError):
        ask(Path("/mnt/x"), "status")


def test_progress(process: Process) -> None:
    """systemd is told that the first listing goes on."""
    SERVING._still_listing(1500)
    told = "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=listing the library: 1500 assets"
    assert process.steps == [told]
