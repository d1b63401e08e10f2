"""The watchdog tells the manager what a look at the mount brought."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from backlotfs.kernel.mount_table import Look
from backlotfs.mount import systemd, watchdog

PLACE = Path("/mnt")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the manager hears."""
    heard: list[str] = []
    monkeypatch.setattr(systemd, "notify", heard.append)
    return heard


@pytest.mark.parametrize(
    ("found", "heard"),
    [
        (Look(5, dead=False), ["WATCHDOG=1"]),
        (Look(None, dead=False), ["WATCHDOG=1"]),  # an error is an answer
        (Look(None, dead=False, silent=True), []),
    ],
)
def test_a_look(
    found: Look, heard: list[str], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is passed on, silence is not; it is waited for a third of the patience."""
    waited: list[float] = []

    def look(path: Path, *, timeout_s: float) -> Look:
        assert path == PLACE
        waited.append(timeout_s)
        return found

    monkeypatch.setattr(watchdog, "look", look)
    watchdog.Watchdog(PLACE, 60.0).tell()
    assert (told, waited) == (heard, [20.0])


def test_a_machine_without_room_for_a_look(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is no reason to kill a mount that may be fine."""

    def look(_path: Path, *, timeout_s: float) -> Look:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(watchdog, "look", look)
    watchdog.Watchdog(PLACE, 60.0).tell()
    assert told == ["WATCHDOG=1"]


@pytest.mark.parametrize("patience_s", [None, 30.0])
def test_it_runs_when_it_is_asked_for(
    patience_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a thread of its own."""
    started: list[str] = []
    monkeypatch.setattr(systemd, "watchdog_patience_s", lambda: patience_s)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    watchdog.watch(PLACE)
    assert started == ([] if patience_s is None else ["watchdog"])
