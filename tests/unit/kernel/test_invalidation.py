"""Names in the root, taken back from the kernel."""

from __future__ import annotations

import threading

import pytest

from backlotfs.kernel import fuse_library, invalidation
from backlotfs.kernel.invalidation import EntryInvalidator
from tests.unit.fakes import PATIENCE_S
from tests.unit.kernel.made_fuse import made_fuse


def test_names_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, as bytes, on the channel of the session; before it is known, not at all."""
    fuse = made_fuse()
    taken: list[tuple[object, ...]] = []
    all_of_them = threading.Event()

    def notify(*args: object) -> int:
        taken.append(args)
        if len(taken) == 3:
            all_of_them.set()
        return -2

    fuse._libfuse.fuse_lowlevel_notify_inval_entry = notify
    monkeypatch.setattr(invalidation, "load_fuse", lambda: fuse)
    invalidator = EntryInvalidator()
    invalidator.invalidate(["too early"])
    invalidator.connect()
    invalidator.invalidate(["a.mov", "日.mov"])
    invalidator.invalidate(["b\udcff"])
    assert all_of_them.wait(PATIENCE_S)
    assert taken == [
        (99, 1, b"a.mov", 5),
        (99, 1, "日.mov".encode(), 7),
        (99, 1, b"b\xff", 2),
    ]
    assert fuse._libfuse.fuse_get_session.calls == [(77,)]


def test_interruption_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libfuse says, on each call."""
    fuse = made_fuse()
    monkeypatch.setattr(fuse_library, "load_fuse", lambda: fuse)
    interrupted = fuse_library.interruption_check()
    assert not interrupted()
    fuse._libfuse.fuse_interrupted.answer = 1
    assert interrupted()
