# SPDX-License-Identifier: Apache-2.0
"""Retry delays against the deadline, whatever the policy and the errors."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import BacklotError, RemoteUnavailable
from backlotfs.http.backoff import Backoff, RetryPolicy
from tests.fakes.clocks import ManualClock

seconds = st.floats(0, 1e4)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    first_delay_s=seconds,
    max_delay_s=seconds,
    jitter=st.floats(0, 1),
)


@given(policies, st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_within_its_cap(policy: RetryPolicy, attempt: int, random: float) -> None:
    """Never negative, never beyond the cap, at any attempt."""
    assert 0 <= policy.delay_s(attempt, random) <= policy.max_delay_s * (1 + 1e-9)


@given(policies, seconds, st.lists(st.none() | seconds, min_size=20, max_size=20))
def test_sleeps_stay_within_the_deadline(
    policy: RetryPolicy, allowed_s: float, waits_s: list[float | None]
) -> None:
    """The sum of all sleeps is less than the deadline, and attempts are at most the policy's."""
    clock = ManualClock()
    attempts = 0

    def attempt() -> None:
        nonlocal attempts
        wait_s = waits_s[attempts]
        attempts += 1
        if wait_s is None:
            raise RemoteUnavailable("down")
        raise RemoteUnavailable("slow", status=503, retry_after_s=wait_s)

    deadline = Deadline(allowed_s, clock)
    with contextlib.suppress(BacklotError):
        Backoff(policy, deadline, clock, "x", random=lambda: 0.99).run(attempt)
    assert sum(clock.slept_s) <= allowed_s
    assert attempts <= policy.max_attempts
