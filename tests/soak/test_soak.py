"""What the soak judges by."""

from __future__ import annotations

from pathlib import Path

from tests.soak.__main__ import _judge
from tests.soak.process_figures import Figures, growth
from tests.soak.readers import Reader

FLAT = [Figures(20, 15, 80.0)] * 9


def reader() -> Reader:
    """One that has read something, slowly for the most part."""
    one = Reader(Path(), [], 0)
    one.latencies_s = [0.1] * 100
    return one


def test_growth_is_that_of_the_last_third() -> None:
    """What a mount takes in its first third is its own business."""
    rising = [Figures(n, 10, n * 2.0) for n in range(9)]
    assert growth(FLAT) == Figures(0, 0, 0.0)
    assert growth(rising) == Figures(3, 0, 6.0)


def test_each_promise_can_fail() -> None:
    """Wrong bytes, errors, latency, URLs, growth."""
    assert _judge([reader()], FLAT, 3, 60.0) == []
    bad = reader()
    bad.wrong.append("reel.mov: pread(1, 0)")
    bad.errors["EIO"] += 1
    bad.latencies_s = [6.0] * 100
    leaking = [Figures(20, n * 10, 80.0) for n in range(9)]
    verdicts = _judge([bad], leaking, 9, 60.0)
    for word in ("wrong bytes", "EIO", "p99", "URLs", "not flat"):
        assert any(word in verdict for verdict in verdicts), word
