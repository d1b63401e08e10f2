"""``status`` and ``refresh``: ask a running mount."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backlotfs.cli.mountpoints import the_mount
from backlotfs.errors import FuseUnusable, SettingsError
from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry

MODULE = import_module("backlotfs.cli.status")
MOUNTPOINTS = import_module("backlotfs.cli.mountpoints")
ANSWER: dict[str, Any] = {
    "source": "backlot:main", "mountpoint": "/mnt/a", "pid": 7, "assets": 10, "synced_at": 0.0,
    "sizes": {"sized": 4, "missing": 1, "total": 10, "seconds_left": 4000.0}, "stale": False,
    "last_error": None, "credits": {"credits_left": 200, "limit": 300}, "url_refreshes": 3,
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
        "backlot:main on /mnt/a (pid 7)", "4 known, 1 without a source, 5 to go",
        "about 1 h 6 min left", "never", "200 of 300 left", "syslog",
    ):  # fmt: skip
        assert part in result.output
    assert "STALE" not in result.output
    stale = ANSWER | {"stale": True, "last_error": "down", "synced_at": 1_456_868_592.0}
    stale["sizes"] = {"sized": 9, "missing": 0, "total": 10, "seconds_left": 90.0}
    monkeypatch.setattr(MODULE, "ask", lambda *_args, **_more: stale)
    output = CliRunner().invoke(MODULE.status, ["/mnt/a"]).output
    for part in ("2016-03-01 21:43:12", "STALE", "last error", "down", "1 min 30 s left"):
        assert part in output
    as_json = CliRunner().invoke(MODULE.status, ["/mnt/a", "--json"]).output
    assert json.loads(as_json) == stale


def test_watch(asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Again every second, until it is interrupted."""
    sleeps = iter([None, None])

    def sleep(seconds: float) -> None:
        try:
            next(sleeps)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(MODULE.time, "sleep", sleep)
    CliRunner().invoke(MODULE.status, ["/mnt/a", "--watch"])
    assert len(asked) == 3


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
    assert the_mount(Path("/mnt/c")) == Path("/mnt/c")
