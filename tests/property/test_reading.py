# SPDX-License-Identifier: Apache-2.0
"""Any reads over any file, block size and budget are the slice of the expected bytes."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.concurrency import interruptible_wait
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import RemoteUnavailable
from backlotfs.prefetch import registry
from backlotfs.prefetch.planner import PlanLimits
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.sources import StepFetch, expected_bytes, read_bytes
from tests.fakes.workers import HeldWorkers
from tests.strategies import FileCase, file_cases, reads
from tests.unit.open_files.stack import ReadingStack

#: Of a scale that files of a few hundred bytes reach.
SMALL = PlanLimits(
    first_window_bytes=40, trusted_window_bytes=200, near_bytes=30, min_request_bytes=20
)


@given(data=st.data(), case=file_cases(), failing=st.lists(st.integers(0, 5), max_size=5))
def test_reads_are_slices(data: st.DataObject, case: FileCase, failing: list[int]) -> None:
    """Two handles, transfers that run in any order and fail now and then, any memory."""
    source = source_version(size=case.size)
    fetch, workers = StepFetch(), HeldWorkers()
    stack = ReadingStack(
        fetch=fetch,
        workers=workers,
        block_bytes=case.block_bytes,
        budget_bytes=case.budget_bytes,
        ahead_bytes=data.draw(st.integers(0, 2 * case.size)),
        limits=SMALL,
    )

    def while_waiting() -> bool:
        """One transfer makes progress for each look of the waiting reader."""
        workers.jobs.rotate(data.draw(st.integers(0, 3)))
        fails: bool = data.draw(st.booleans())
        if failing and fails:
            fetch.fail_after(failing.pop(), RemoteUnavailable("down"))
        workers.jobs.popleft()()
        return False

    with (
        mock.patch.object(registry, "MIN_WINDOW_BYTES", 1),
        mock.patch.object(interruptible_wait, "POLL_S", 0.0),
    ):
        handles = [stack.reader.open(source) for _ in range(2)]
        for wanted in data.draw(st.lists(reads(case.size), max_size=12)):
            waiter = InterruptibleWait(Deadline(30.0, ManualClock()), while_waiting)
            expected = expected_bytes(source, wanted.clamped(case.size))
            fh = data.draw(st.sampled_from(handles))
            try:
                found = read_bytes(stack.reader, fh, wanted.start, wanted.length, waiter)
            except RemoteUnavailable:
                continue  # a failure that was planned, and reached whoever asked
            assert found == expected
            assert stack.cached_bytes <= max(case.budget_bytes, case.block_bytes)
        workers.run_all()
        assert stack.store.prefetch_bytes == 0
        for fh in handles:
            whole = InterruptibleWait(Deadline(30.0, ManualClock()), workers.run_meanwhile)
            assert read_bytes(stack.reader, fh, 0, case.size, whole) == expected_bytes(
                source, ByteRange(0, case.size)
            )
