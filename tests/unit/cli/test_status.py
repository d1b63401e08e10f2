# SPDX-License-Identifier: Apache-2.0
"""``status`` and ``refresh``: ask a running mount."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backlotfs.cli.mountpoints import the_mount
from backlotfs.errors import FuseUnusable, SettingsError
from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry
from backlotfs.mount.control.client import AnswerLate, NoAnswer
from tests.fakes.answers import AnswersInTurn

MODULE = import_module("backlotfs.cli.status")
TEXT = import_module("backlotfs.cli.status_text")
MOUNTPOINTS = import_module("backlotfs.cli.mountpoints")
ANSWER: dict[str, Any] = {
    "source": "backlot:main", "mountpoint": "/mnt/a", "pid": 7, "assets": 10, "synced_at": 0.0,
    "sizes": {"sized": 4, "missing": 1, "total": 10, "seconds_left": 4000.0}, "stale": False,
    "last_error": None, "size_bytes": 3 << 30, "syncing": False, "errors": [], "processes": {},
    "cache": {"memory": {"cached_bytes": 1 << 20, "budget_bytes": 1 << 28}, "disk": None,
              "pinned": None},
    "throughput": {"now": {"over_s": 5, "read_bytes_per_s": 2048, "fetched_bytes_per_s": 0},
                   "since_start": {"read_bytes": 4096, "fetched_bytes": 8192,
                                   "read_bytes_per_s": 10, "fetched_bytes_per_s": 20}},
    "credits": {"credits_left": 200, "limit": 300, "more_in_s": None, "share": None},
    "waiting": [],
    "url_refreshes": 3, "choice": None, "exports": [],
    "fuse_binding": "session", "passthrough": {"off": "", "opens": 0, "files": 0},
    "log": "syslog",
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Answers with `ANSWER`; holds what was asked."""
    found: list[tuple[str, dict[str, Any]]] = []

    def ask(place: Path, command: str, **arguments: Any) -> dict[str, Any]:
        found.append((f"{place} {command}", arguments))
        return ANSWER

    monkeypatch.setattr(MODULE, "ask", ask)
    return found


def test_status(asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What people want to know, and all of it for programs."""
    result = CliRunner().invoke(MODULE.status, ["/mnt/a"])
    assert result.exit_code == 0, result.output
    for part in (
        "backlot:main on /mnt/a (pid 7)", "4 known, 5 pending, about 1 h 6 min left",
        "1 file without a source", "never", "10, 3.0 GiB as far as known\n",
        "memory 1.0 MiB of 256.0 MiB", "no disk cache",
        "read 2.0 KiB/s, fetched 0 B/s", "fetched 8.0 KiB (20 B/s)", "200 of 300 left",
        "signed URLs    3 fetched", "syslog",
        "kernel         session; passthrough on, not used yet\n",
    ):  # fmt: skip
        assert part in result.output
    for part in ("STALE", "failed", "readers"):
        assert part not in result.output
    stale = ANSWER | {"stale": True, "last_error": "down", "synced_at": 1_456_868_592.0}
    stale["sizes"] = {"sized": 9, "missing": 0, "total": 10, "seconds_left": 90.0}
    monkeypatch.setattr(MODULE, "ask", lambda *_args, **_more: stale)
    output = CliRunner().invoke(MODULE.status, ["/mnt/a"]).output
    for part in ("2016-03-01 ", "STALE", "last error", "down", "1 min 30 s left"):
        assert part in output
    as_json = CliRunner().invoke(MODULE.status, ["/mnt/a", "--json"]).output
    assert json.loads(as_json) == stale


def test_when_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of the sizes is the whole; a reason that calls for nothing has no place here."""
    off = {"off": "the kernel allows it only to this machine's own root", "opens": 0, "files": 0}
    sizes = {"sized": 9, "missing": 1, "total": 10, "seconds_left": None}
    answer = ANSWER | {"sizes": sizes, "passthrough": off}
    monkeypatch.setattr(MODULE, "ask", lambda *_args, **_more: answer)
    lines = CliRunner().invoke(MODULE.status, ["/mnt/a"]).output.splitlines()
    assert "files          10, 3.0 GiB" in lines
    assert "kernel         session; passthrough off (see: backlotfs stats)" in lines


def test_a_part_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of it, by which rules, and which of them name no label."""
    choice = {"include": ["*.mov", "label:Nwes"], "exclude": ["type:ad"],
              "unknown_labels": ["label:Nwes"], "of_assets": 340}  # fmt: skip
    monkeypatch.setattr(MODULE, "ask", lambda *_args, **_more: ANSWER | {"choice": choice})
    assert (
        "chosen         10 of 340 assets: include *.mov, include label:Nwes (no such label), "
        "exclude type:ad\n"
    ) in CliRunner().invoke(MODULE.status, ["/mnt/a"]).output


def test_cache_errors_and_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of them in words, all of them as JSON; names are fit for a terminal."""
    error = {"at": 1_456_868_592.5, "file": "/a\x1b.mov", "embed_code": "E1", "errno": "EIO",
             "reason": "source host h answers 503", "times": 3}  # fmt: skip
    answer = ANSWER | {
        "syncing": True,
        "errors": [error] + [error | {"times": 1}] * 6,
        "processes": {f"p{n}": {"asked_bytes": 9 - n, "reads": 1, "failed": n} for n in range(9)},
        "cache": {
            "memory": {"cached_bytes": 0, "budget_bytes": 1024},
            "disk": {"cached_bytes": 10, "budget_bytes": 2048},
            "pinned": {"files": 2, "cached_bytes": 5, "needed_bytes": 7, "quota_bytes": 9},
        },
    }
    monkeypatch.setattr(MODULE, "ask", lambda *_args, **_more: answer)
    output = CliRunner().invoke(MODULE.status, ["/mnt/a"]).output
    for part in (
        "disk 10 B of 2.0 KiB\n", "2 files, 5 B of 7 B in the disk cache", "never (refreshing)",
        "failed         2016-03-01 ", "/a\\x1b.mov: EIO: source host h answers 503 (3 times)",
        "2 more: --json", "p0 9 B, p1 8 B (1 read failed)", "3 more",
    ):  # fmt: skip
        assert part in output
    lines = TEXT.status_lines(answer)
    for_people = TEXT.wrapped(lines)
    assert max(len(text) for _, text in for_people) <= 80 - 15
    assert " ".join(text for _, text in for_people) == " ".join(text for _, text in lines)


def test_exports_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what is complete of it, one below the other."""
    exports = [
        {"pid": 9, "files": 12, "of_files": 23, "bytes": 593 << 20},
        {"pid": 10, "files": 0, "of_files": 1, "bytes": 0},
    ]
    monkeypatch.setattr(MODULE, "ask", lambda *_args, **_more: ANSWER | {"exports": exports})
    assert (
        "export         pid 9: 12 of 23 files, 593.0 MiB\n               pid 10: 0 of 1 file, 0 B\n"
    ) in CliRunner().invoke(MODULE.status, ["/mnt/a"]).output


def test_recent_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """As people say them."""
    now_s = 1_456_868_592.0
    monkeypatch.setattr(TEXT.time, "time", lambda: now_s)
    for seconds, words in ((3, "3 s ago"), (200, "3 min ago"), (90_000, "25 h ago")):
        answer = ANSWER | {"synced_at": now_s - seconds}
        assert dict(TEXT.status_lines(answer))["listed"] == words


def test_watch(asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Again every second, until it is interrupted."""
    sleeps = iter([None, None])

    def sleep(seconds: float) -> None:
        try:
            next(sleeps)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(MODULE.time, "sleep", sleep)
    lines = CliRunner().invoke(MODULE.status, ["/mnt/a", "--watch"]).output.splitlines()
    assert len(asked) == 3
    assert all(" read 2.0 KiB/s, fetched 0 B/s, 10 files" in line for line in lines[:3])


def test_watching_a_mount_that_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes on after an answer that did not come in time, and ends with the mount."""
    answers = AnswersInTurn(ANSWER, AnswerLate("busy"), ANSWER, NoAnswer("gone"))
    monkeypatch.setattr(MODULE, "ask", answers)
    monkeypatch.setattr(MODULE.time, "sleep", lambda _seconds: None)
    done = CliRunner().invoke(MODULE.status, ["/mnt/a", "--watch"])
    assert str(done.exception) == "gone"
    assert done.output.count(" read 2.0 KiB/s") == 2


def test_refresh(asked: list[tuple[str, dict[str, Any]]]) -> None:
    """Passed on."""
    for arguments in ([], ["--full"]):
        assert CliRunner().invoke(MODULE.refresh, ["/mnt/a", *arguments]).exit_code == 0
    assert asked == [("/mnt/a refresh", {"full": False}), ("/mnt/a refresh", {"full": True})]


def test_which_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only one there is, or the one that is named."""
    mounts: list[MountEntry] = []
    monkeypatch.setattr(MOUNTPOINTS, "our_mounts", lambda: mounts)
    with pytest.raises(FuseUnusable, match="nothing is mounted"):
        the_mount(None)
    for place in ("/mnt/a", "/mnt/b"):
        mounts.append(MountEntry(place, FUSE_TYPE, "s", frozenset()))
        if place == "/mnt/a":
            assert the_mount(None) == Path("/mnt/a")
    with pytest.raises(SettingsError, match="/mnt/a, /mnt/b"):
        the_mount(None)
    own = frozenset({f"user_id={os.geteuid()}"})
    mounts.append(MountEntry("/mnt/mine", FUSE_TYPE, "s", own))
    assert the_mount(None) == Path("/mnt/mine"), "the others are of other users"
    assert the_mount(Path("/mnt/c")) == Path("/mnt/c")


def test_only_a_picture_imports_what_draws() -> None:
    """The command starts fast."""
    asked = "import sys, backlotfs.cli.status; print({'rich', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
