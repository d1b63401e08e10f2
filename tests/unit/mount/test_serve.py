# SPDX-License-Identifier: Apache-2.0
"""The life of one mount process, over a session that mounts nothing."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backlotfs.catalog.db.rows import CatalogClosed, SizedCounts
from backlotfs.cli.status_text import status_lines
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    FuseUnusable,
    RemoteUnavailable,
    SettingsError,
)
from backlotfs.kernel.mounting import MountOptions
from backlotfs.mount.control.client import ask
from backlotfs.mount.control.unix_socket import socket_paths
from tests.support.deadlines import wait_until
from tests.unit.mount.serving_process import SERVING, Process


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Process:
    """Ready to serve."""
    return Process(monkeypatch, tmp_path)


def test_a_first_mount(process: Process) -> None:
    """Signals are blocked before anything else; the library is listed before it is mounted."""
    assert process.serve() == [
        "block", "logs", "EXTEND_TIMEOUT_USEC=60000000", "check_api", "STATUS=listing the library",
        "load", "run", "ready",
        "READY=1\nSTATUS=mounted", "keep fresh", "crawl", "pins", "closed",
    ]  # fmt: skip


def test_with_a_saved_catalog(process: Process) -> None:
    """It is mounted without a listing; then the refresh begins, before it is ready."""
    process.saved = True
    steps = process.serve()
    assert "check_api" not in steps
    order = ("run", "refresh", "ready", "crawl")
    assert sorted(order, key=steps.index) == list(order)
    assert process.more == ""


def test_a_saved_catalog_that_cannot_be_read(process: Process) -> None:
    """The library is listed while the mount is there already; who looks waits for it."""
    process.saved = process.unreadable = True
    process.during = lambda: wait_until(lambda: "load" in process.steps, "the listing")
    steps = process.serve()
    assert steps[-1] == "closed"
    assert steps.index("unreadable") < steps.index("load")


def test_a_saved_catalog_that_cannot_be_read_and_no_api(process: Process) -> None:
    """The mount ends, and says why; an operation that waits for the listing does not keep it."""
    process.saved = process.unreadable = True
    process.error = RemoteUnavailable("down")
    process.catalog.presented.expect()
    process.during = lambda: wait_until(
        lambda: any(step.startswith("stop") for step in process.steps), "the end"
    )
    with pytest.raises(RemoteUnavailable):
        process.serve()
    with pytest.raises(CatalogClosed):
        _ = process.catalog.presented.library


def test_a_saved_catalog_and_no_api(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """Is a note in the log, and is said with the date of what is shown; the mount stays."""
    process.saved, process.error = True, RemoteUnavailable("down")
    with caplog.at_level(logging.WARNING):
        assert "crawl" in process.serve()
    assert "STALE" in caplog.text
    found = re.fullmatch(
        r"the API cannot be used now: the listing of \d{4}-\d\d-\d\d \d\d:\d\d is shown \(down\)",
        process.more,
    )
    assert found is not None, process.more


def test_a_saved_catalog_and_an_api_that_is_silent(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount does not wait for it, and says so."""
    process.saved = process.silent = True
    monkeypatch.setattr(SERVING, "FIRST_ANSWER_S", 0.0)
    assert "crawl" in process.serve()
    assert process.more.startswith("the API has not answered yet")


def test_an_answer_is_enough(process: Process) -> None:
    """The mount is ready when the API has accepted the credentials: a full sync may take long."""
    process.saved = process.silent = True
    process.stack.api.heard.set()
    assert "crawl" in process.serve()
    assert process.more == ""


def test_a_saved_catalog_and_refused_credentials(process: Process) -> None:
    """End it before it is said to be mounted."""
    process.saved, process.error = True, CredentialsRefused("401")
    with pytest.raises(CredentialsRefused):
        process.serve()
    assert "ready" not in process.steps
    assert "READY=1\nSTATUS=mounted" not in process.steps
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

    monkeypatch.setattr(SERVING.output, "configure", fail)
    with pytest.raises(SettingsError, match="Permission denied; name a file with --log-file"):
        process.serve()


def test_it_ends_while_it_is_announced(process: Process) -> None:
    """An unmount right after the mount: what is announced then is nothing, and no failure."""

    def closed() -> SizedCounts:
        raise CatalogClosed("the catalog is closed")

    process.catalog.counted = closed
    assert process.serve()[-2:] == ["run", "closed"]


def test_how_it_is_mounted(process: Process) -> None:
    """By the binding, type and options of the settings."""
    process.settings = replace(process.settings, fuse_binding="fusepy", allow_other=True)
    process.serve()
    assert process.options == MountOptions("backlot:main", allow_other=True)
    assert process.binding == "fusepy"


def test_signals(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Refresh, a dump of the state, and an orderly end; before the mount, an end at once."""
    exits: list[int] = []

    def end(code: int) -> None:
        exits.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(SERVING.os, "_exit", end)

    def too_early(*_args: object) -> None:
        process.handlers[signal.SIGTERM]()

    with monkeypatch.context() as early:
        early.setattr(SERVING, "check_api", too_early)
        with pytest.raises(SystemExit):
            process.serve()
    assert exits == [128 + signal.SIGTERM]

    def during() -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
            process.handlers[number]()

    process.during = during
    with caplog.at_level(logging.INFO):
        steps = process.serve()
    said = {getattr(record, "event", None) for record in caplog.records}
    assert said >= {"stack", "state", "mounted", "unmounted"}
    assert "refresh" in steps
    assert any(step.startswith("stop") for step in steps)
    assert "STOPPING=1" in steps
    assert "louder" in steps


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
    assert answer["sizes"] == {"sized": 4, "missing": 1, "total": 10, "seconds_left": 2.5}
    credits = answer["credits"]
    assert (credits["credits_left"], credits["more_in_s"], credits["waiting"]) == (
        *(200, 41.0),
        [0, 2, 0, 0],
    )
    assert [*stats["memory"].values(), *stats["hedges"].values()] == [4, 2, 1, 0, 2, 1]
    assert (stats["url_refreshes"], stats["disk"], stats["amplification"]) == (7, None, None)
    with pytest.raises(BacklotError):
        ask(Path("/mnt/x"), "status")


@pytest.mark.parametrize("wrong", [True, -1, 2**63, 10**400, 1.5, "1", None])
def test_what_an_export_says_of_itself(process: Process, wrong: object) -> None:
    """Is shown in ``status`` as long as it runs; what cannot be shown is ignored."""
    progress = {"pid": os.getpid(), "files": 1, "of_files": 3, "bytes": 2**40}
    seen: list[list[object]] = []

    def during() -> None:
        announced = [*(progress | {name: wrong} for name in progress), progress]
        seen.extend(ask(Path("/mnt/x"), "status", export=one)["exports"] for one in announced)

    process.during = during
    process.serve()
    assert seen == [[], [], [], [], [progress]]


def test_a_socket_that_somebody_removed(process: Process) -> None:
    """It is made again within a minute: a cleaner of /tmp may take it away."""
    (socket,) = socket_paths(Path("/mnt/x"))
    answers: list[dict[str, Any]] = []

    def during() -> None:
        for take_away in (os.unlink, lambda path: shutil.rmtree(path.parent)):
            take_away(socket)
            with pytest.raises(BacklotError):
                ask(Path("/mnt/x"), "status")
            process.each_minute()
            answers.append(ask(Path("/mnt/x"), "status"))

    process.during = during
    process.serve()
    assert len(answers) == 2
    assert not socket.exists()
    process.each_minute()
    assert not socket.exists(), "the mount has ended"


def test_a_server_that_does_not_count_calls(process: Process) -> None:
    """Nothing is told of credits: what the mount assumes of them is not so."""
    answers: list[dict[str, Any]] = []
    process.stack.limiter.counts_credits = False
    process.during = lambda: answers.append(ask(Path("/mnt/x"), "status"))
    process.serve()
    credits = answers[0]["credits"]
    assert [credits[key] for key in ("credits_left", "limit", "more_in_s")] == [None] * 3
    assert "no limit known" in dict(status_lines(answers[0]))["API credits"]


def test_who_waits_is_told(process: Process) -> None:
    """Program, file, what for and for how long: of those that wait for a credit, each once."""
    answers: list[dict[str, Any]] = []
    own = os.getpid()
    process.reading = [(own, "A"), (own, "A"), (own, "B")]
    process.queued = {"A"}
    process.during = lambda: answers.append(ask(Path("/mnt/x"), "status"))
    process.serve()
    (waiting,) = answers[0]["waiting"]
    name = Path("/proc/self/comm").read_text().strip()
    assert waiting == {
        "pid": own, "program": name, "file": "A.mov", "for": "url", "seconds": 41.0,
    }  # fmt: skip


def test_sizes_to_come_are_told(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """At the mount, to the user and in the log; not where they come in a moment."""
    with caplog.at_level(logging.INFO):
        process.seconds_each = 30.0
        process.serve()
    assert process.more == (
        "the sizes of 5 files are not known yet; at this account's rate of API calls that takes "
        "about 2 min. Copies may start now: cp waits for the size of its file, rsync and "
        "export for the sizes of the whole folder"
    )
    assert "the sizes of 5 files are not known yet; to find them takes about 150 s" in caplog.text
    process.seconds_each = 0.1
    process.serve()
    assert process.more == ""


@pytest.mark.parametrize("timeout_s", [None, 7.0])
def test_the_deadline_of_reads(process: Process, timeout_s: float | None) -> None:
    """Stands still in the queue for a credit, unless a timeout was asked for."""
    process.settings = replace(process.settings, read_timeout_s=timeout_s)
    process.queued = {"A"}
    process.serve()
    assert process.read_deadline_s == timeout_s or timeout_s is None
    assert process.read_queued("A") is (timeout_s is None)


def test_without_a_control_socket(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount works."""

    def fail(*_args: object) -> None:
        raise PermissionError(1, "not ours")

    monkeypatch.setattr(SERVING, "ControlServer", fail)
    with caplog.at_level(logging.WARNING):
        assert "ready" in process.serve()
    assert "`status`, `stats` and `refresh` do not work for now: not ours" in caplog.text


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
    """systemd and whoever started the mount are told how far the first listing is."""
    process.during = lambda: process.progress(1500)
    assert "STATUS=listing the library: 1500 assets" in process.serve()
    assert process.listed == [1500]
