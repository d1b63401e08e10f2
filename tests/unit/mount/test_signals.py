# SPDX-License-Identifier: Apache-2.0
"""Signals, waited for by a thread."""

from __future__ import annotations

import logging
import signal
import threading

import pytest

from backlotfs.mount import signals
from tests.fakes.workers import PATIENCE_S


def test_each_signal_has_its_handler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that fails does not keep the next from being handled."""
    coming = iter([signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM])
    handled: list[str] = []
    over = threading.Event()

    def sigwait(waited_for: object) -> int:
        assert waited_for == signals.HANDLED
        number = next(coming, None)
        if number is None:
            threading.Event().wait()  # a daemon thread that has done its part
            raise AssertionError
        return int(number)

    def fail() -> None:
        handled.append("failed")
        raise ValueError("bug")

    def stop() -> None:
        handled.append("stopped")
        over.set()

    monkeypatch.setattr(signal, "sigwait", sigwait)
    with caplog.at_level(logging.ERROR):
        signals.serve(
            {
                signal.SIGHUP: lambda: handled.append("refreshed"),
                signal.SIGUSR1: fail,
                signal.SIGTERM: stop,
            }
        )
        assert over.wait(PATIENCE_S)
    assert handled == ["refreshed", "failed", "stopped"]
    assert "handling SIGUSR1 failed" in caplog.text


def test_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that are handled, among them libfuse's own SIGHUP, which would unmount."""
    blocked: list[tuple[object, ...]] = []
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *args: blocked.append(args))
    signals.block()
    assert blocked == [(signal.SIG_BLOCK, signals.HANDLED)]
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= signals.HANDLED
