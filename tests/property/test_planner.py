# SPDX-License-Identifier: Apache-2.0
"""Plans stay inside the file and under the cap, and hand nothing out twice."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.planner import (
    CURSORS,
    IDLE_S,
    MAX_REQUEST_BYTES,
    PlanLimits,
    ReadPlanner,
    WindowTarget,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 64 * KIB
READ = 128 * KIB

steps = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 300 * MIB)),  # None: read on
        st.integers(1, 2 * MIB),
        st.booleans(),  # missed
        st.integers(0, 3),  # reader
        st.sampled_from([0.0, 0.001, 0.3, IDLE_S]),  # seconds later
    ),
    max_size=60,
)
needs = st.builds(WindowTarget, st.integers(0, 300 * MIB), st.sampled_from([2 * MIB, 8 * MIB]))


def planner(size: int, cap: int) -> ReadPlanner:
    """Of a file of this size."""
    return ReadPlanner(size, max_window_bytes=cap, block_bytes=BLOCK)


@example(  # a learned stride whose parts are longer than the window
    size=2 * MIB,
    cap=1,
    need=WindowTarget(1, 2 * MIB),
    steps=[(None, 1, False, 0, 0.0)] * 3 + [(at, 1, False, 0, 0.0) for at in (524_291, 1_048_869)],
)
@example(  # the rest of a part, and a whole one, are longer than the window
    size=1_572_877,
    cap=5,
    need=WindowTarget(5, 2 * MIB),
    steps=[
        *((None, length, False, 0, 0.0) for length in (1, 1, 2)),
        *((at, 1, False, 0, 0.0) for at in (524_292, 1_048_581)),
    ],
)
@given(size=st.integers(1, 300 * MIB), cap=st.integers(0, 80 * MIB), need=needs, steps=steps)
def test_inside_the_file_and_under_the_cap(
    size: int,
    cap: int,
    need: WindowTarget,
    steps: list[tuple[int | None, int, bool, int, float]],
) -> None:
    """Whatever is read, in whatever order, by whomever; and what is planned is wanted."""
    plan = planner(size, cap)
    plan.target = need
    position, now_s = 0, 0.0
    for seek, length, missed, reader, later_s in steps:
        start = (position if seek is None else seek) % size
        read = ByteRange(start, start + length).clamped(size)
        now_s += later_s
        found = plan.observe(read, missed=missed, reader=reader, now_s=now_s).requests
        position = read.stop
        assert sum(request.length for request in found) <= cap
        edge = read.start
        for request in found:
            assert edge <= request.start < request.stop <= size
            assert request.length <= MAX_REQUEST_BYTES * 3 // 2
            assert plan.wanted(request, now_s)
            edge = request.stop


@given(
    size=st.integers(BLOCK, 40 * MIB),
    cap=st.integers(BLOCK, 32 * MIB),
    length=st.integers(4 * KIB, MIB),
    order=st.randoms(use_true_random=False),
    trusted=st.booleans(),
)
def test_a_sequential_reader_is_planned_for_once(
    size: int, cap: int, length: int, order: Random, trusted: bool
) -> None:
    """Reads of any size that overtake each other by 1 MiB: each byte is planned once, or read."""
    plan = planner(size, cap)
    plan.expected_bytes = size if trusted else None
    at_once = max(1, MIB // length)
    reads = [ByteRange(at, at + length).clamped(size) for at in range(0, size, length)]
    planned: list[ByteRange] = []
    for first in range(0, len(reads), at_once):
        group = reads[first : first + at_once]
        for read in order.sample(group, len(group)):
            planned += plan.observe(read).requests
    assert all(one.stop <= two.start for one, two in pairwise(planned))
    # Only what was read before it could be planned is left out.
    if size > 4 * MIB and cap > 4 * MIB:
        assert planned[-1].stop == size
        assert sum(one.length for one in planned) >= size - 3 * MIB


@given(
    places=st.lists(st.integers(1, 50_000), min_size=2, max_size=80, unique=True),
    length=st.integers(1, READ),
    size=st.just(400 * GIB),
)
@example(places=[1, 2], length=7282, size=400 * GIB)
def test_random_reads_are_not_planned_for(places: list[int], length: int, size: int) -> None:
    """Single reads, each far from the others, however many."""
    plan = planner(size, 64 * MIB)
    for place in places:
        start = place * 8 * MIB  # further than `PlanLimits.near_bytes`
        assert not plan.observe(ByteRange(start, start + length), missed=True).requests


@given(
    streams=st.integers(1, CURSORS),
    turn=st.integers(1, 16),
    one_reader=st.booleans(),
)
def test_interleaved_streams_each_reach_the_cap(streams: int, turn: int, one_reader: bool) -> None:
    """In turns of any length, through one handle or several."""
    cap = 16 * MIB
    plan = planner(100 * GIB, cap)
    farthest = [0] * streams
    reads = 8 * MIB // READ
    for first in range(0, reads, turn):
        for stream in range(streams):
            for step in range(first, min(first + turn, reads)):
                start = (stream + 1) * 3 * GIB + step * READ
                reader = 0 if one_reader else stream
                found = plan.observe(ByteRange(start, start + READ), reader=reader).requests
                if found:
                    farthest[stream] = found[-1].stop - start
    assert min(farthest) > cap - 6 * MIB


@given(data=st.data(), run=st.integers(4, 64), start=st.integers(0, GIB))
def test_a_stride_is_learned_for_any_rhythm(data: st.DataObject, run: int, start: int) -> None:
    """After a few periods nothing that is skipped is fetched, and all that is read is planned."""
    gap = data.draw(st.integers(4, run)) * READ
    run *= READ
    period = run + gap
    plan = planner(100 * GIB, 64 * MIB)
    found: list[ByteRange] = []
    late: list[ByteRange] = []
    for turn in range(50):
        for at in range(start + turn * period, start + turn * period + run, READ):
            (late if turn > 2 else found).extend(plan.observe(ByteRange(at, at + READ)).requests)
    assert all((one.start - start) % period < run for one in late)
    assert all((one.stop - 1 - start) % period < run for one in late)
    assert sum(one.length for one in found + late) >= 49 * run - READ


@given(seek=st.integers(200 * MIB, 90 * GIB), before=st.integers(1, 400))
def test_a_seek_gives_up_the_old_place(seek: int, before: int) -> None:
    """Once the reader goes on at the new place, nothing far ahead of the old one is wanted."""
    plan = planner(100 * GIB, 64 * MIB)
    for step in range(before):
        plan.observe(ByteRange(step * READ, (step + 1) * READ))
    old = ByteRange(before * READ, before * READ + 64 * MIB)
    for at in (seek, seek + READ):
        plan.observe(ByteRange(at, at + READ))
    assert not plan.wanted(old)
    assert plan.wanted(ByteRange(seek, seek + MIB))


@given(first=st.integers(0, 4 * MIB), size=st.integers(1, 64 * MIB))
def test_the_first_window(first: int, size: int) -> None:
    """Is as large as the limits say, or the file."""
    limits = PlanLimits(first_window_bytes=first)
    plan = ReadPlanner(size, max_window_bytes=64 * MIB, block_bytes=BLOCK, limits=limits)
    read = ByteRange(0, READ).clamped(size)
    found = plan.observe(read).requests
    assert sum(request.length for request in found) <= min(first, size - read.stop)
