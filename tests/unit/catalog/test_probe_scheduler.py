"""Probes: which source is probed next, and which needs a turn of the rate limiter first."""

from __future__ import annotations

import pytest

from backlotfs.api.rate_limiter import Priority
from backlotfs.catalog import probe_scheduler
from backlotfs.catalog.probe_scheduler import (
    BACKGROUND_PROBES,
    FORGIVEN_AFTER_S,
    MOST_PROBES,
    REST_S,
)
from backlotfs.catalog.rows import StoreUnavailable
from backlotfs.errors import (
    BacklotError,
    Interrupted,
    RateLimited,
    RemoteUnavailable,
    SourceMissing,
)
from tests.unit.catalog.scheduling import Scheduling
from tests.unit.fakes import identity

WAITING, LISTED, BACKGROUND = Priority.WAITING, Priority.LISTED, Priority.BACKGROUND


def test_one_probe_is_shared() -> None:
    """All who ask before it ends have its result; who asks later is answered without a probe."""
    rig = Scheduling("A")
    futures = [rig.scheduler.request("A") for _ in range(5)]
    rig.workers.run_all()
    assert {future.result(0).identity for future in futures} == {identity("A")}
    again = rig.scheduler.request("A")
    rig.workers.run_all()
    assert again.result(0).verified
    assert rig.probed == ["A"]
    assert rig.paid == [(WAITING, "A")]
    assert rig.limiter.status().credits_left == 299, "a turn that was not used went back"


def test_what_is_doubted_during_a_probe_is_probed_again() -> None:
    """The probe may have met the version before: what it found is not the last word."""
    rig = Scheduling("A")
    rig.book.found(identity("A"))
    rig.book.doubt("A")
    doubted = iter([True, False])
    rig.on_probe = lambda code: rig.book.doubt(code) if next(doubted) else None
    future = rig.scheduler.request("A")
    rig.workers.run_all()
    assert future.result(0).verified
    assert rig.probed == ["A", "A"]


def test_a_source_doubted_all_the_time_stays_in_doubt() -> None:
    """Probes in a row are bounded; the next who asks begins anew."""
    rig = Scheduling("A")
    rig.on_probe = rig.book.doubt
    future = rig.scheduler.request("A")
    rig.workers.run_all()
    assert not future.result(0).verified
    assert rig.probed == ["A"] * MOST_PROBES


def test_a_failure_is_shared_and_noted() -> None:
    """In the book, so that it is not asked for again at once."""
    rig = Scheduling("A")
    error = SourceMissing("null URL")

    def fail(_code: str) -> None:
        raise error

    rig.on_probe = fail
    future = rig.scheduler.request("A")
    rig.workers.run_all()
    assert future.exception(0) is error
    assert rig.book.failure("A") is error


def test_the_order() -> None:
    """Asked before listed, the last listed folder first, and what is stale last.

    The one file that waited for its turn already when the next folder was listed keeps its place.
    """
    rig = Scheduling(*"ABCDEFG", credits=1)
    rig.spend(left=0)
    rig.scheduler.enqueue_stale(["E"])
    rig.scheduler.prioritize(["A", "B"])
    rig.scheduler.prioritize(["C", "D"])
    futures = [rig.scheduler.request(code) for code in "GF"]
    rig.workers.run_all()
    assert rig.probed == ["G", "F", "A", "C", "D", "B", "E"]
    assert [priority for priority, _ in rig.paid] == [WAITING] * 2 + [LISTED] * 4 + [BACKGROUND]
    assert all(future.done() for future in futures)


def test_a_listing_goes_on_behind_the_file_asked_for_last() -> None:
    """Programs walk a folder in its order; what they left out comes at the end."""
    rig = Scheduling(*"ABCDEX", credits=1)
    rig.spend(left=0)
    rig.scheduler.prioritize("ABCDE")
    rig.scheduler.prioritize("X")
    rig.scheduler.request("C")
    rig.workers.run_all()
    assert rig.probed == ["C", "A", "D", "E", "B", "X"], "A waited for its turn already"


def test_listing_asks_only_for_what_is_not_known() -> None:
    """Neither for what is, nor for what has just failed; but for what is in doubt."""
    rig = Scheduling("A", "B", "C")
    rig.book.found(identity("A"))
    rig.book.failed("B", SourceMissing("x"))
    rig.book.found(identity("C"))
    rig.book.doubt("C")
    rig.scheduler.prioritize(["A", "B", "C"])
    rig.workers.run_all()
    assert rig.probed == ["C"]
    assert not rig.scheduler.busy


def test_so_many_background_probes_at_a_time() -> None:
    """However many are listed, and however often; one who waits does not wait for them."""
    rig = Scheduling("A", *[f"X{number}" for number in range(500)])
    rig.free = set(rig.rows) - {"A"}
    for _ in range(3):
        rig.scheduler.prioritize(sorted(rig.free))
    assert len(rig.workers.jobs) == BACKGROUND_PROBES
    rig.scheduler.request("A")
    assert len(rig.workers.jobs) == BACKGROUND_PROBES + 1
    rig.workers.run_all()
    assert len(rig.probed) == 501


def test_what_needs_no_credit_does_not_wait_for_one() -> None:
    """A known URL, or a CDN host: also behind others that wait."""
    rig = Scheduling("A", "B")
    rig.spend(left=0)
    rig.free = {"B"}
    first, second = rig.scheduler.request("A"), rig.scheduler.request("B")
    assert rig.scheduler.is_queued("A")
    assert not rig.scheduler.is_queued("B")
    assert 0 < rig.scheduler.seconds_until("A") <= 41.0
    while not second.done():
        rig.run(1)
    assert not first.done()
    assert rig.paid == []
    rig.workers.run_all()
    assert first.result(0).verified
    assert rig.paid == [(WAITING, "A")]


def test_a_turn_that_the_probe_does_not_use_goes_back() -> None:
    """The URL became known between the turn and the call."""
    rig = Scheduling("A", credits=10)
    rig.on_prepare = rig.free.add
    future = rig.scheduler.request("A")
    assert rig.limiter.status().credits_left == 9
    rig.workers.run_all()
    assert future.result(0).verified
    assert rig.limiter.status().credits_left == 10


def test_no_credit_within_the_longest_wait() -> None:
    """The future fails with `RateLimited`; nothing is noted against the source."""
    rig = Scheduling("A", credit_wait_s=30.0)
    rig.spend(left=0, resets_in_s=50.0)
    began_s = rig.clock.monotonic()
    future = rig.scheduler.request("A")
    rig.workers.run_all()
    assert isinstance(future.exception(0), RateLimited)
    assert 30.0 <= rig.clock.monotonic() - began_s <= 31.1
    assert rig.book.failure("A") is None
    assert not rig.scheduler.is_queued("A")


def test_close_ends_every_wait() -> None:
    """And leaves the backfill to another mount; nothing begins afterwards."""
    rig = Scheduling("A", "B")
    rig.spend(left=0)
    future = rig.scheduler.request("A")
    rig.scheduler.prioritize(["B"])
    rig.scheduler.start_backfill()
    rig.scheduler.close()
    assert isinstance(future.exception(0), Interrupted)
    rig.scheduler.start_backfill()
    rig.clock.advance(100.0)
    rig.workers.run_all()
    assert rig.probed == []
    assert rig.released == ["size"]
    assert not rig.scheduler.busy


def test_the_backfill_goes_over_everything() -> None:
    """Newest first, each once; it ends when the store has no more."""
    rig = Scheduling("A", "B", "C")
    for _ in range(2):
        rig.scheduler.start_backfill()
        assert rig.scheduler.busy
        rig.workers.run_all()
        assert rig.probed == ["A", "B", "C"]
        assert not rig.scheduler.busy
    assert {priority for priority, _ in rig.paid} == {BACKGROUND}


def test_the_backfill_takes_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million assets are not in memory a second time."""
    monkeypatch.setattr(probe_scheduler, "BATCH", 4)
    rig = Scheduling(*[f"X{number}" for number in range(10)])
    rig.scheduler.start_backfill()
    rig.workers.run_all()
    assert sorted(rig.probed) == sorted(rig.rows)
    assert set(rig.limits) == {4}


def test_of_several_mounts_one_does_the_backfill() -> None:
    """Who does not get the lease leaves it; what is listed is probed all the same."""
    rig = Scheduling("A", "B")
    rig.lease = False
    rig.scheduler.start_backfill()
    rig.workers.run_all()
    assert rig.probed == []
    assert not rig.scheduler.busy
    rig.scheduler.prioritize(["B"])
    rig.workers.run_all()
    assert rig.probed == ["B"]


@pytest.mark.parametrize(
    ("error", "rests"), [(RemoteUnavailable("down"), 2), (SourceMissing("none"), 0)]
)
def test_failures_rest_and_are_forgiven(error: BacklotError, rests: int) -> None:
    """A host that is down is not stormed; the backfill goes on, and asks again much later."""
    rig = Scheduling("A", "B", "C")

    def fail(code: str) -> None:
        if code != "C":
            raise error

    rig.on_probe = fail
    rig.scheduler.start_backfill()
    rig.workers.run_all()
    assert sorted(rig.probed) == ["A", "B", "C"]
    assert rig.clock.slept_s.count(REST_S) == rests
    rig.on_probe = lambda _code: None
    rig.clock.advance(FORGIVEN_AFTER_S / 2)
    rig.scheduler.start_backfill()
    rig.workers.run_all()
    assert len(rig.probed) == 3
    rig.clock.advance(FORGIVEN_AFTER_S / 2)
    rig.scheduler.start_backfill()
    rig.workers.run_all()
    assert sorted(rig.probed[3:]) == ["A", "B"]


def test_a_store_that_cannot_be_asked_does_not_end_the_backfill_for_good() -> None:
    """The next call goes on."""
    rig = Scheduling("A")

    def fail() -> None:
        raise StoreUnavailable("busy")

    rig.on_store = fail
    for _ in range(3):
        rig.scheduler.start_backfill()
        rig.workers.run_all()
    rig.on_store = lambda: None
    rig.scheduler.start_backfill()
    rig.workers.run_all()
    assert rig.probed == ["A"]


def test_seconds_left_by_the_credits() -> None:
    """Whole windows are counted: 10 a minute, one of them spent."""
    rig = Scheduling(credits=10)
    rig.spend(left=9, resets_in_s=60.0)
    assert rig.scheduler.seconds_for(0) == 0.0
    assert rig.scheduler.seconds_for(9) == 0.0
    assert rig.scheduler.seconds_for(25) == pytest.approx(121.0, abs=2.0)


def test_seconds_left_by_the_pace() -> None:
    """Where calls cost nothing, once enough were made."""
    rig = Scheduling(*[f"X{number}" for number in range(40)])
    rig.limiter.answered(None)
    assert not rig.limiter.counts_credits
    assert rig.scheduler.seconds_for(100) is None
    rig.on_probe = lambda _code: rig.clock.advance(0.5)
    rig.scheduler.start_backfill()
    assert rig.scheduler.seconds_for(100) is None
    rig.workers.run_all()
    assert rig.scheduler.seconds_for(100) == pytest.approx(50.0)


def test_a_background_probe_that_an_application_comes_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is shared, and its wait for a further credit becomes as urgent as the application."""
    rig = Scheduling("A")
    raised: list[tuple[str, Priority]] = []
    monkeypatch.setattr(rig.limiter, "raise_priority", lambda key, to: raised.append((key, to)))
    rig.scheduler.prioritize(["A"])
    future = rig.scheduler.request("A")
    assert raised == [("A", WAITING)]
    rig.workers.run_all()
    assert future.result(0).verified
    assert rig.probed == ["A"]


def test_the_turn_goes_to_the_most_urgent() -> None:
    """A credit that comes while the background waits is the application's."""
    rig = Scheduling("A", "B")
    rig.spend(left=0)
    rig.scheduler.prioritize(["A"])
    rig.scheduler.request("B")
    rig.clock.advance(41.0)
    rig.workers.run_all()
    assert rig.paid == [(WAITING, "B"), (LISTED, "A")]
