# SPDX-License-Identifier: Apache-2.0
"""Rates from totals: nothing that was read is lost or told twice."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.cli.read_rates import Sample, Watched, change, rates, samples_of

STEPS = st.lists(st.tuples(st.floats(0.1, 1000), st.integers(0, 1 << 40)), min_size=1, max_size=30)
GAPS = st.lists(st.floats(0.1, 1000), min_size=1, max_size=30)


def answer(read: int, *, since: float = 1.0, **asked: int) -> dict[str, Any]:
    """What ``status`` says, as far as rates need it; everything that was read was fetched."""
    return {
        "since": since,
        "throughput": {"since_start": {"read_bytes": read, "fetched_bytes": read}},
        "reads": {"blocks": {"memory": read // 2, "network": read}},
        "processes": {
            name: {"asked_bytes": count, "reads": 1, "failed": 0} for name, count in asked.items()
        },
    }


@given(STEPS, st.floats(-500, 500), GAPS)
def test_the_sum_is_kept(steps: list[tuple[float, int]], begin_s: float, gaps: list[float]) -> None:
    """However the spans lie, together they have what passed while they were known."""
    times = list(accumulate(seconds for seconds, _ in steps))
    totals = list(accumulate(count for _, count in steps))
    points = list(zip(times, totals, strict=True))
    edges = list(accumulate([begin_s, *gaps]))
    found = rates(points, edges)
    assert len(found) == len(gaps)
    whole = rates(points, [edges[0], edges[-1]])[0]
    known_s = [
        max(0.0, min(edges[at + 1], times[-1]) - max(edges[at], times[0]))
        for at in range(len(gaps))
    ]
    passed = sum(
        rate * seconds for rate, seconds in zip(found, known_s, strict=True) if rate is not None
    )
    assert all(rate is None or rate >= 0 for rate in found)
    assert passed == pytest.approx(
        (whole or 0.0) * sum(known_s), rel=1e-6, abs=1e-3 + totals[-1] * 1e-9
    )


def test_a_part_that_is_known() -> None:
    """Counts as it is; what is before the first point and after the last is unknown."""
    points = [(10.0, 0.0), (20.0, 100.0), (21.0, 100.0)]
    assert rates(points, [0, 10, 15, 22, 30]) == [None, 10.0, pytest.approx(50 / 6), None]
    assert rates([], [0, 1, 2]) == [None, None]


@given(STEPS, st.integers(1, 300))
def test_columns(steps: list[tuple[float, int]], count: int) -> None:
    """As many as there is room for, of reads and of fetches, whenever answers come."""
    watched = Watched()
    at_s, read = 1000.0, 0
    for seconds, more in steps:
        at_s, read = at_s + seconds, read + more
        watched.add(at_s, answer(read))
    columns, fetched = watched.columns(count)
    assert len(columns) == count
    assert columns == fetched
    assert watched.back_s in Watched.BACK_S


def test_history_before_the_first_answer() -> None:
    """What the mount knows of the time before is in the picture, and no dip between."""
    history = samples_of(
        [{"at": 1000.0 + 10 * n, "read_bytes": 50 * n, "fetched_bytes": 0} for n in range(3)] * 2,
        ahead_s=500.0,
    )
    assert history == [Sample(500.0 + 10 * n, 50 * n, 0) for n in range(3)]
    watched = Watched(history)
    watched.add(522.0, answer(110))
    read, _ = watched.columns(60)
    assert {value for value in read if value is not None} == {5.0}
    assert sum(value is not None for value in read) == 22


def test_who_reads_now() -> None:
    """The fastest first, then by what they have read; blocks are those of the time between."""
    older = answer(100, cp=1000, rsync=10, tar=5)
    newer = answer(300, cp=1000, rsync=30, tar=65, new=1)
    seen = change(older, newer, 2.0)
    assert [(one.name, one.bytes_per_s) for one in seen.readers] == [
        ("tar", 30.0), ("rsync", 10.0), ("new", 0.5), ("cp", 0.0),
    ]  # fmt: skip
    assert seen.blocks == {"memory": 100, "network": 200}
    assert {one.bytes_per_s for one in change(older, newer, 0.0).readers} == {0.0}


def test_another_mount_at_the_same_place() -> None:
    """It begins anew: nothing is compared with what the earlier process said."""
    watched = Watched()
    watched.add(1000.0, answer(5000, cp=5000))
    watched.add(1010.0, answer(100, since=2.0, cp=100))
    assert watched.now().readers[0].bytes_per_s == 0
    assert set(watched.columns(10)[0]) == {None}
    watched.add(1011.0, answer(300, since=2.0, cp=300))
    assert watched.now().readers[0].bytes_per_s == 200


def test_rates_of_now_are_of_the_last_seconds() -> None:
    """What was before does not count."""
    watched = Watched()
    for second in range(20):
        watched.add(1000.0 + second, answer(0, cp=1000 if second < 10 else 1000 + 10 * second))
    assert watched.now().readers[0].bytes_per_s == 10
