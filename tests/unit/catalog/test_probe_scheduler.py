# SPDX-License-Identifier: Apache-2.0
"""Which source is probed next, when its call may be made, and who waits for it."""

from __future__ import annotations

import threading

import pytest

from backlotfs.api.rate_limiter import Priority
from backlotfs.catalog import probe_scheduler
from backlotfs.catalog.db.rows import CatalogUnavailable
from backlotfs.catalog.probe_scheduler import (
    BACKGROUND_PROBES,
    DEAD_HOST_PAUSE_S,
    LISTINGS,
    MOST_PROBES,
)
from backlotfs.errors import (
    BacklotError,
    Interrupted,
    RateLimited,
    RemoteUnavailable,
    SourceMissing,
)
from tests.fakes.records import source_version
from tests.fakes.workers import PATIENCE_S
from tests.support.deadlines import wait_until
from tests.unit.catalog.scheduling import Schedule, no_credit


def test_request() -> None:
    """Probed once for all who ask meanwhile, and remembered."""
    schedule = Schedule("A")
    futures = [schedule.scheduler.request("A") for _ in range(5)]
    schedule.held.run_all()
    assert {future.result(0).version for future in futures} == {source_version("A")}
    assert schedule.versions.known("A") == futures[0].result(0)
    assert schedule.probed == ["A"]
    assert schedule.paid == [Priority.WAITING]


def test_a_request_just_after_the_end_of_a_probe() -> None:
    """Its caller looked before that end: there is nothing to probe any more."""
    schedule = Schedule("A")
    schedule.scheduler.request("A")
    schedule.held.run_all()
    late = schedule.scheduler.request("A")
    schedule.held.run_all()
    assert late.result(0).version == source_version("A")
    assert schedule.probed == ["A"]


def test_another_mount_finds_out_while_one_waits_for_a_credit() -> None:
    """The wait ends with that, at once and without a probe."""
    schedule = Schedule("A", "B", credits=1)
    first, waiting = schedule.scheduler.request("B"), schedule.scheduler.request("A")
    schedule.clock.advance(1.0)
    schedule.versions.record_probe(source_version("A"))
    schedule.held.run_all()
    assert first.result(0).version == source_version("B")
    assert waiting.result(0).version == source_version("A")
    assert schedule.probed == ["B"]


def test_what_is_doubted_during_a_probe_is_probed_again() -> None:
    """The probe may have met the version before: what it found is not the last word."""
    schedule = Schedule("A")
    schedule.versions.record_probe(source_version("A"))
    schedule.versions.invalidate("A")
    doubted = iter([True, False])

    def replaced_meanwhile(code: str) -> None:
        if next(doubted):
            schedule.versions.invalidate(code)

    schedule.on_probe = replaced_meanwhile
    future = schedule.scheduler.request("A")
    schedule.held.run_all()
    assert future.result(0).verified
    assert schedule.probed == ["A", "A"]


def test_a_source_doubted_all_the_time_stays_in_doubt() -> None:
    """Probes in a row are bounded; the next who asks begins anew."""
    schedule = Schedule("A")
    schedule.on_probe = schedule.versions.invalidate
    future = schedule.scheduler.request("A")
    schedule.held.run_all()
    assert not future.result(0).verified
    assert schedule.probed == ["A"] * MOST_PROBES


@pytest.mark.parametrize("error", [SourceMissing("null URL"), RemoteUnavailable("down")])
def test_a_failure_is_shared_and_noted(error: BacklotError) -> None:
    """Remembered, so that it is not asked for again at once."""
    schedule = Schedule("A")

    def fail(code: str) -> None:
        raise error

    schedule.on_probe = fail
    futures = [schedule.scheduler.request("A") for _ in range(2)]
    schedule.held.run_all()
    assert [future.exception(0) for future in futures] == [error, error]
    assert schedule.versions.failure("A") is error


def test_a_probe_without_a_call_gives_its_turn_back() -> None:
    """The URL came meanwhile, or the host was found down: the credit is for the next."""
    schedule = Schedule("A", "B", credits=5)
    schedule.on_prepare = schedule.urls.add
    schedule.scheduler.request("A")
    schedule.held.run_all()
    assert schedule.probed == ["A"]
    assert schedule.paid == []

    def down(_code: str) -> None:
        raise RemoteUnavailable("down")

    schedule.on_prepare = down
    schedule.scheduler.request("B")
    schedule.held.run_all()
    assert schedule.limiter.status().credits_left == 5


def test_a_known_url_costs_no_credit() -> None:
    """The probe goes to the source host, also while there is no credit."""
    schedule = Schedule("A", "B", "C", credits=5)
    schedule.spend(4)
    schedule.urls = {"B", "C"}
    waiting = schedule.scheduler.request("A")
    free = schedule.scheduler.request("B")
    assert schedule.scheduler.is_queued("A")
    assert not schedule.scheduler.is_queued("B")
    schedule.held.jobs.reverse()  # the probe before the look at the clock
    schedule.held.jobs.popleft()()
    assert free.done()
    assert not waiting.done()
    schedule.held.run_all()
    assert waiting.done()
    assert schedule.probed == ["B", "A"]
    assert schedule.paid == [Priority.WAITING]


def test_listing_moves_a_folder_to_the_front() -> None:
    """In its own order, before what was listed earlier, and before what is in doubt."""
    schedule = Schedule("A", "B", "C", "D", "E", credits=5)
    schedule.spend(4)
    schedule.scheduler.enqueue_stale(["E", "A"])
    schedule.list_folder(["A", "B"])
    schedule.list_folder(["C", "D"])
    schedule.held.run_all()
    assert schedule.probed == ["C", "D", "A", "B", "E"]
    assert schedule.paid == [Priority.LISTED] * 4 + [Priority.BACKGROUND]


def test_an_application_goes_before_everything() -> None:
    """Whatever was asked for before it: the next turn is its own."""
    schedule = Schedule("A", "B", "C", credits=5)
    schedule.spend(4)
    schedule.scheduler.enqueue_stale(["A"])
    schedule.list_folder(["B"])
    asked = [schedule.scheduler.request(code) for code in "CA"]
    schedule.held.run_all()
    assert schedule.probed == ["C", "A", "B"]
    assert schedule.paid == [Priority.WAITING, Priority.WAITING, Priority.LISTED]
    assert all(future.result(0).verified for future in asked)


def test_programs_walk_folders() -> None:
    """What lies behind the name that was asked for comes next, and then what is before it."""
    schedule = Schedule(*"ABCDEFXY", credits=5)
    schedule.spend(4)
    schedule.list_folder("ABCDEF")
    schedule.list_folder("XY")
    schedule.scheduler.request("D")
    schedule.held.run_all()
    assert schedule.probed == list("DEFABCXY"), "the folder that was used last is first"


def test_many_listings() -> None:
    """The oldest of too many are forgotten, also as places to go on behind."""
    schedule = Schedule("A", "B", *[f"X{number}" for number in range(LISTINGS)], credits=5)
    schedule.spend(4)
    schedule.list_folder("AB")
    for number in range(LISTINGS):
        schedule.list_folder([f"X{number}"])
    assert not set("AB") & set(schedule.scheduler._places)
    schedule.scheduler.request("A")
    schedule.held.run_all()
    assert schedule.probed[0] == "A"
    assert "B" not in schedule.probed
    assert not schedule.scheduler._places


def test_listing_asks_only_for_what_is_not_known() -> None:
    """Neither for what is, nor for what has just failed; but for what is in doubt."""
    schedule = Schedule("A", "B", "C")
    schedule.versions.record_probe(source_version("A"))
    schedule.versions.failed("B", SourceMissing("x"))
    schedule.versions.record_probe(source_version("C"))
    schedule.versions.invalidate("C")
    schedule.list_folder(["A", "B", "C"])
    schedule.held.run_all()
    assert schedule.probed == ["C"]


def test_what_is_hidden_or_deleted_meanwhile_is_not_probed() -> None:
    """Whether it was listed or is in doubt: a probe of it would waste a credit."""
    schedule = Schedule(*"ABCD", credits=5)
    schedule.spend(4)
    schedule.list_folder("AB")
    schedule.scheduler.enqueue_stale("CD")
    for code in "AC":
        schedule.versions.forget(schedule.rows.pop(code))
    schedule.held.run_all()
    assert schedule.probed == ["B", "D"]


def test_so_many_probes_at_a_time() -> None:
    """However many are listed, and however often."""
    names = [f"X{number}" for number in range(500)]
    schedule = Schedule(*names)
    schedule.urls = set(names)
    for _ in range(3):
        schedule.list_folder(names)
    assert len(schedule.held.jobs) == BACKGROUND_PROBES
    schedule.held.run_all()
    assert sorted(schedule.probed) == sorted(names)
    assert not schedule.scheduler.busy


def test_the_backfill_goes_over_everything() -> None:
    """Newest first, each once, and ends when the database has no more."""
    schedule = Schedule("A", "B", "C")
    schedule.scheduler.start_backfill()
    assert schedule.scheduler.busy
    schedule.held.run_all()
    assert schedule.probed == ["A", "B", "C"]
    assert schedule.paid == [Priority.BACKGROUND] * 3
    assert not schedule.scheduler.busy
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert len(schedule.probed) == 3


def test_the_backfill_takes_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million assets are not in memory a second time."""
    schedule = Schedule(*[f"X{number}" for number in range(10)])
    monkeypatch.setattr(probe_scheduler, "BACKFILL_BATCH", 4)

    def unsized(limit: int) -> list[str]:
        schedule.limits.append(limit)
        return [code for code in schedule.rows if schedule.versions.known(code) is None][:limit]

    schedule.to_probe = unsized  # type: ignore[method-assign]  # the test's own db
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert len(set(schedule.probed)) == 10
    assert set(schedule.limits) == {4}


def test_of_several_mounts_one_does_the_backfill() -> None:
    """Who does not get the lease leaves it; what is listed is probed all the same."""
    schedule = Schedule("A", "B")
    schedule.leased_by = "another mount"
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert schedule.probed == []
    schedule.list_folder(["B"])
    schedule.held.run_all()
    assert schedule.probed == ["B"]
    schedule.scheduler.close()
    assert schedule.leased_by == "another mount"


def test_a_mount_that_has_probed_all_leaves_the_backfill_to_others() -> None:
    """They may show assets that this one does not."""
    schedule = Schedule("A", "B")
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert sorted(schedule.probed) == ["A", "B"]
    assert schedule.leased_by == ""


def test_what_needs_no_credit_does_not_spend_the_backgrounds() -> None:
    """With a CDN host, only what changed lately costs a call."""
    schedule = Schedule("A", "B", "C")
    schedule.urls = {"B", "C"}
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert sorted(schedule.probed) == ["A", "B", "C"]
    assert schedule.paid == [Priority.BACKGROUND]


def test_a_host_that_is_down_is_not_stormed() -> None:
    """After each failure of the network a background probe keeps its place for a while."""
    schedule = Schedule("A", "B")

    def fail(code: str) -> None:
        raise RemoteUnavailable("down")

    schedule.on_probe = fail
    schedule.list_folder(["A", "B"])
    schedule.held.run_all()
    assert schedule.clock.slept_s.count(DEAD_HOST_PAUSE_S) == 2


def test_a_failed_asset_does_not_stop_the_backfill() -> None:
    """It is left alone for a while; the next start after that asks for it again."""
    schedule = Schedule("A", "B")

    def fail(code: str) -> None:
        if code == "A":
            raise RemoteUnavailable("down")

    schedule.on_probe = fail
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert schedule.probed == ["A", "B"]
    schedule.clock.advance(2 * probe_scheduler.FORGIVEN_AFTER_S)
    schedule.on_probe = lambda _code: None
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert schedule.probed == ["A", "B", "A"]


def test_a_background_probe_without_a_credit_is_put_back() -> None:
    """It says nothing about the source: nothing is noted, and it is asked for again."""
    schedule = Schedule("A")
    schedule.on_prepare = no_credit
    schedule.list_folder(["A"])
    schedule.held.jobs.popleft()()
    assert schedule.versions.failure("A") is None
    schedule.on_prepare = lambda _code: None
    schedule.held.run_all()
    assert schedule.probed == ["A"]


def test_a_store_that_cannot_be_asked_does_not_end_the_backfill_for_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next start goes on."""
    schedule = Schedule("A")

    def fail() -> None:
        raise CatalogUnavailable("busy")

    schedule.on_store = fail
    for _ in range(3):
        schedule.scheduler.start_backfill()
        schedule.held.run_all()
    assert schedule.probed == []
    assert "busy" in caplog.text
    schedule.on_store = lambda: None
    schedule.scheduler.start_backfill()
    schedule.held.run_all()
    assert schedule.probed == ["A"]


def test_waiting_for_a_credit_has_an_end() -> None:
    """After the longest wait each who waits is told, in order; a later one waits on."""
    schedule = Schedule("A", "B", "C", credits=5, window_s=1000.0, credit_wait_s=100.0)
    schedule.spend(4)
    first = schedule.scheduler.request("A")
    schedule.clock.advance(50.0)
    second = schedule.scheduler.request("B")
    while not first.done():
        schedule.held.jobs.popleft()()
    assert isinstance(first.exception(0), RateLimited)
    assert not second.done()
    assert not schedule.scheduler.is_queued("A")
    assert schedule.scheduler.is_queued("B")
    assert schedule.versions.failure("A") is None, "it says nothing about the source"
    schedule.held.run_all()
    assert isinstance(second.exception(0), RateLimited)
    schedule.clock.advance(1000.0)
    again = schedule.scheduler.request("A")
    schedule.held.run_all()
    assert again.result(0).verified


def test_seconds_left_by_credits() -> None:
    """What the limit allows, from this moment on: four fifths of each window."""
    schedule = Schedule("A", credits=100, window_s=60.0)
    schedule.spend(1)
    assert schedule.scheduler.seconds_for(0) == 0.0
    assert schedule.scheduler.seconds_for(79) == 0.0
    assert schedule.scheduler.seconds_for(80) == pytest.approx(60.0, abs=2.0)
    assert schedule.scheduler.seconds_for(79 + 80 * 9) == pytest.approx(9 * 60.0, abs=2.0)


def test_seconds_left_where_a_cdn_host_saves_credits() -> None:
    """Only the share of the probes that costs a call waits for credits."""
    schedule = Schedule(*[f"X{number}" for number in range(10)], credits=100, window_s=60.0)
    schedule.spend(1)
    schedule.urls = {f"X{number}" for number in range(9)}
    assert schedule.scheduler.seconds_for(10 * (79 + 80 * 9)) == pytest.approx(9 * 60.0, abs=2.0)
    schedule.urls.add("X9")
    assert schedule.scheduler.seconds_for(10_000) is None, "nothing is measured yet"


def test_seconds_left_without_a_limit() -> None:
    """From what the probes so far took, however long ago that was."""
    schedule = Schedule(*[f"X{number}" for number in range(40)])
    schedule.limiter.answered(None)
    assert schedule.scheduler.seconds_for(100) is None
    schedule.urls = set(schedule.rows)
    schedule.on_probe = lambda _code: schedule.clock.advance(0.5)
    schedule.scheduler.start_backfill()
    assert schedule.scheduler.seconds_for(100) is None
    schedule.held.run_all()
    schedule.clock.advance(3600.0)
    assert schedule.scheduler.seconds_for(1) == pytest.approx(0.5)
    assert schedule.scheduler.seconds_for(100 * BACKGROUND_PROBES) == pytest.approx(50.0)


def test_seconds_until_a_turn() -> None:
    """By the place in the queue of those who wait."""
    schedule = Schedule(*[f"X{number}" for number in range(9)], credits=5, window_s=60.0)
    schedule.spend(4)
    for code in schedule.rows:
        schedule.scheduler.request(code)
    seconds = [schedule.scheduler.seconds_until(code) for code in schedule.rows]
    assert seconds == sorted(seconds)
    assert seconds[3] == pytest.approx(60.0, abs=2.0), "four of five a window"
    assert seconds[4] == pytest.approx(120.0, abs=2.0)


def test_the_end_of_the_mount() -> None:
    """All who wait are told at once; nothing begins after it."""
    schedule = Schedule("A", "B", "C", credits=5)
    schedule.spend(4)
    waiting = schedule.scheduler.request("A")
    schedule.list_folder(["B"])
    schedule.scheduler.start_backfill()
    schedule.limiter.close()
    schedule.scheduler.close()
    assert isinstance(waiting.exception(0), Interrupted)
    assert not schedule.leased_by
    schedule.clock.advance(1000.0)
    schedule.held.run_all()
    schedule.scheduler.start_backfill()
    schedule.list_folder(["C"])
    assert isinstance(schedule.scheduler.request("C").exception(0), Interrupted)
    schedule.held.run_all()
    assert schedule.probed == []


def test_a_probe_that_waits_for_a_further_credit() -> None:
    """Its call was refused after it had begun: it counts as queued, and is raised to who asks."""
    schedule = Schedule("A", credits=5, threads=True)
    refused, given = threading.Event(), threading.Event()
    wait = threading.Condition.wait
    schedule.limiter._wait = lambda condition, _seconds: wait(condition, 0.01)

    def refuse(_code: str) -> None:
        schedule.limiter.refused(30.0)
        refused.set()
        schedule.limiter.acquire(Priority.BACKGROUND, key="A")
        given.set()

    schedule.on_prepare = refuse
    schedule.scheduler.enqueue_stale(["A"])
    assert refused.wait(PATIENCE_S)
    wait_until(lambda: schedule.scheduler.is_queued("A"), "the probe to wait for a credit")
    future = schedule.scheduler.request("A")
    assert schedule.limiter.status().waiting == (0, 1, 0, 0)
    assert not future.done()
    schedule.clock.advance(100.0)
    assert future.result(PATIENCE_S).version == source_version("A")
    assert given.is_set()
    assert schedule.probed == ["A"]


def test_an_application_does_not_wait_for_the_background() -> None:
    """With all places of the background taken, an application's probe begins at once."""
    schedule = Schedule("A", *[f"X{number}" for number in range(100)], threads=True)
    gate, begun = threading.Event(), threading.Semaphore(0)

    def hang(code: str) -> None:
        if code != "A":
            begun.release()
            assert gate.wait(PATIENCE_S)

    schedule.on_probe = hang
    schedule.urls = set(schedule.rows)
    try:
        schedule.list_folder([code for code in schedule.rows if code != "A"])
        for _ in range(BACKGROUND_PROBES):
            assert begun.acquire(timeout=PATIENCE_S)
        assert schedule.scheduler.request("A").result(PATIENCE_S).version == source_version("A")
    finally:
        gate.set()
