"""Plans stay inside the file and under the cap, and hand nothing out twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.reading.read_plan import MAX_REQUEST_BYTES, MIN_REQUEST_BYTES, ReadPlanner

MIB = 1 << 20
BLOCK = 128 * 1024

steps = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 300 * MIB)),  # None: read on
        st.integers(1, 2 * MIB),
        st.booleans(),
    ),
    max_size=60,
)


@given(size=st.integers(1, 300 * MIB), cap=st.integers(0, 80 * MIB), steps=steps)
def test_inside_the_file_and_under_the_cap(
    size: int, cap: int, steps: list[tuple[int | None, int, bool]]
) -> None:
    """Whatever is read, in whatever order."""
    planner = ReadPlanner(size, max_window_bytes=cap, block_bytes=BLOCK)
    position = 0
    for seek, length, missed in steps:
        start = (position if seek is None else seek) % size
        read = ByteRange(start, start + length).clamped(size)
        plan = planner.observe(read, missed=missed)
        position = read.stop
        assert MIN_REQUEST_BYTES <= plan.request_bytes <= MAX_REQUEST_BYTES
        if plan.ahead.length:
            assert 0 < plan.ahead.start < plan.ahead.stop <= size
            assert plan.ahead.length <= cap
            assert plan.ahead.start >= read.stop or plan.ahead.start > read.start


@given(
    size=st.integers(BLOCK, 40 * MIB),
    cap=st.integers(BLOCK, 32 * MIB),
    late_by=st.lists(st.integers(0, 4), min_size=1, max_size=50),
    missed_at=st.sets(st.integers(0, 300), max_size=5),
)
def test_nothing_is_handed_out_twice_unless_missed(
    size: int, cap: int, late_by: list[int], missed_at: set[int]
) -> None:
    """One stream, its reads overtaking each other a little: each byte is planned once."""
    planner = ReadPlanner(size, max_window_bytes=cap, block_bytes=BLOCK)
    blocks = range(-(-size // BLOCK))
    order = sorted(blocks, key=lambda index: index + late_by[index % len(late_by)])
    planned_to = 0
    for step, index in enumerate(order):
        read = ByteRange(index * BLOCK, (index + 1) * BLOCK).clamped(size)
        missed = step in missed_at
        plan = planner.observe(read, missed=missed)
        if missed:
            planned_to = min(planned_to, read.stop)
        if plan.ahead.length:
            assert plan.ahead.start >= planned_to
            planned_to = plan.ahead.stop
