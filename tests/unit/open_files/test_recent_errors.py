# SPDX-License-Identifier: Apache-2.0
"""The last reads that failed."""

from __future__ import annotations

from backlotfs.errors import ContentChanged, Interrupted, RemoteUnavailable
from backlotfs.open_files.recent_errors import (
    KEPT,
    REASON_CHARACTERS,
    SOURCES_KEPT,
    Failure,
    RecentErrors,
)
from tests.fakes.clocks import ManualClock


def test_when_what_and_why() -> None:
    """The latest first; of each source its own last one."""
    clock = ManualClock()
    failures = RecentErrors(clock)
    assert failures.latest() == []
    assert failures.of("E1") is None
    failures.note("E1", "/a.mov", RemoteUnavailable("source host h answers 503"))
    clock.advance(5)
    failures.note("E2", "/b.mov", ContentChanged("replaced"))
    first, second = (
        Failure(clock.now() - 5, "E1", "/a.mov", "EIO", "source host h answers 503", 1),
        Failure(clock.now(), "E2", "/b.mov", "ESTALE", "replaced", 1),
    )
    assert failures.latest() == [second, first]
    assert (failures.of("E1"), failures.of("E2")) == (first, second)


def test_the_same_again() -> None:
    """Is one entry, with the time of the last; of another file it is another."""
    clock = ManualClock()
    failures = RecentErrors(clock)
    for code in ("E1", "E1", "E1", "E2"):
        clock.advance(1)
        failures.note(code, f"/{code}", RemoteUnavailable("down"))
    second, first = failures.latest()
    assert (first.times, first.at_s, second.times) == (3, clock.now() - 1, 1)


def test_a_killed_reader_is_no_failure() -> None:
    """Nor is the end of the mount."""
    failures = RecentErrors(ManualClock())
    failures.note("E1", "/a.mov", Interrupted("reading: the caller is gone"))
    assert failures.latest() == []


def test_no_secrets_and_no_long_texts() -> None:
    """Whatever an error quotes; of an error that is not ours its type alone."""
    failures = RecentErrors(ManualClock())
    failures.note("E1", "/a.mov", RemoteUnavailable("no http://h/x?Signature=abcdefgh&Expires=1"))
    failures.note("E2", "/b.mov", RemoteUnavailable("x" * 10_000))
    failures.note("E3", "/c.mov", ValueError("http://h/x?Signature=abcdefgh"))
    foreign, long, secret = failures.latest()
    assert "abcdefgh" not in secret.reason
    assert len(long.reason) == REASON_CHARACTERS
    assert (foreign.reason, foreign.errno) == ("ValueError", "EIO")


def test_memory_is_bounded() -> None:
    """The oldest go."""
    failures = RecentErrors(ManualClock())
    for number in range(SOURCES_KEPT + 1):
        failures.note(f"E{number}", "/a.mov", RemoteUnavailable("down"))
    assert len(failures.latest()) == KEPT
    assert failures.of("E0") is None
    assert failures.of("E1") is not None


def test_all_are_counted_by_errno() -> None:
    """Also those that are remembered no more; readers that were killed are not."""
    failures = RecentErrors(ManualClock())
    for number in range(KEPT + 1):
        failures.note(f"E{number}", "a.mov", ContentChanged("it was replaced"))
    failures.note("E1", "a.mov", ValueError("unexpected"))
    failures.note("E1", "a.mov", Interrupted("killed"))
    assert failures.by_errno() == {"ESTALE": KEPT + 1, "EIO": 1}
