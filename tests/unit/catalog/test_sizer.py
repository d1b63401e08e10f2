"""Probes: at once for whoever waits, in the background for the rest."""

from __future__ import annotations

import threading

import pytest
from backlotfs.catalog.rate_budget import Priority
from backlotfs.catalog.sizer import BATCH, CRAWLERS, MOST_PROBES, REST_S

from backlotfs.catalog import sizer as sizer_module
from backlotfs.catalog.rows import StoreUnavailable
from backlotfs.errors import RateLimited, RemoteUnavailable, SourceMissing
from backlotfs.workers import Workers
from tests.unit.catalog.crawling import Crawl
from tests.unit.fakes import PATIENCE_S, identity


def codes(crawl: Crawl) -> list[str]:
    """What was probed, in order."""
    return [code for _, code in crawl.probed]


def test_request() -> None:
    """Probed once for all who ask meanwhile, and published in the book; the next knows."""
    crawl = Crawl("A")
    futures = [crawl.sizer.request("A") for _ in range(5)]
    crawl.held.run_all()
    assert {future.result(0).identity for future in futures} == {identity("A")}
    again = crawl.sizer.request("A")
    crawl.held.run_all()
    assert again.result(0).verified
    assert crawl.probed == [("api", "A")]
    assert crawl.purse.spent == [Priority.WAITING]


def test_what_is_doubted_during_a_probe_is_probed_again() -> None:
    """The probe may have met the version before: what it found is not the last word."""
    crawl = Crawl("A")
    crawl.book.found(identity("A"))
    crawl.book.doubt("A")
    doubted = iter([True, False])

    def replaced_meanwhile(code: str) -> None:
        if next(doubted):
            crawl.book.doubt(code)

    crawl.on_probe = replaced_meanwhile
    future = crawl.sizer.request("A")
    crawl.held.run_all()
    assert future.result(0).verified
    assert codes(crawl) == ["A", "A"]


def test_a_source_doubted_all_the_time_stays_in_doubt() -> None:
    """Probes in a row are bounded; the next who asks begins anew."""
    crawl = Crawl("A")
    crawl.on_probe = crawl.book.doubt
    future = crawl.sizer.request("A")
    crawl.held.run_all()
    assert not future.result(0).verified
    assert codes(crawl) == ["A"] * MOST_PROBES


def test_a_failure_is_shared_and_noted() -> None:
    """In the book, so that it is not asked for again at once."""
    crawl = Crawl("A")
    error = SourceMissing("null URL")

    def fail(code: str) -> None:
        raise error

    crawl.on_probe = fail
    future = crawl.sizer.request("A")
    crawl.held.run_all()
    assert future.exception(0) is error
    assert crawl.book.failure("A") is error


def test_a_known_url_costs_no_credit() -> None:
    """The probe itself goes to the source host."""
    crawl = Crawl("A")
    crawl.urls = {"A"}
    crawl.sizer.request("A")
    crawl.held.run_all()
    assert crawl.probed == [("api", "A")]
    assert crawl.purse.spent == []


def test_listing_moves_a_folder_to_the_front() -> None:
    """In its own order, before what was listed earlier, and before what is in doubt."""
    crawl = Crawl("A", "B", "C", "D", "E")
    crawl.sizer.doubted(["E", "A"])
    crawl.sizer.listed(["A", "B"])
    crawl.sizer.listed(["C", "D"])
    crawl.held.run_all()
    assert codes(crawl) == ["C", "D", "A", "B", "E"]
    assert crawl.purse.spent == [Priority.LISTED] * 4 + [Priority.BACKGROUND]


def test_listing_asks_only_for_what_is_not_known() -> None:
    """Neither for what is, nor for what has just failed; but for what is in doubt."""
    crawl = Crawl("A", "B", "C")
    crawl.book.found(identity("A"))
    crawl.book.failed("B", SourceMissing("x"))
    crawl.book.found(identity("C"))
    crawl.book.doubt("C")
    crawl.sizer.listed(["A", "B", "C"])
    crawl.held.run_all()
    assert codes(crawl) == ["C"]
    assert crawl.sizer.request("A") is not None


def test_so_many_probes_at_a_time() -> None:
    """However many are listed, and however often."""
    crawl = Crawl()
    for _ in range(3):
        crawl.sizer.listed([f"X{number}" for number in range(500)])
    assert len(crawl.held.jobs) == CRAWLERS
    crawl.held.run_all()
    assert len(crawl.probed) == 500
    crawl.sizer.listed(["A"])
    assert len(crawl.held.jobs) == 1


def test_the_crawl_goes_over_everything() -> None:
    """Newest first, each once, and ends when the store has no more."""
    crawl = Crawl("A", "B", "C")
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert codes(crawl) == ["A", "B", "C"]
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert len(crawl.probed) == 3


def test_the_crawl_takes_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million assets are not in memory a second time."""
    crawl = Crawl(*[f"X{number}" for number in range(10)])
    monkeypatch.setattr(sizer_module, "BATCH", 4)
    limits: list[int] = []

    def unsized(limit: int) -> list[str]:
        limits.append(limit)
        return [code for code in crawl.rows if crawl.book.known(code) is None][:limit]

    crawl.sizer._store.unsized = unsized  # type: ignore[method-assign]  # the test's own store
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert len(set(codes(crawl))) == 10
    assert set(limits) == {4} != {BATCH}


def test_of_several_mounts_one_crawls() -> None:
    """Who does not get the lease leaves it; what is listed is probed all the same."""
    crawl = Crawl("A", "B")
    crawl.lease = False
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert crawl.probed == []
    crawl.sizer.listed(["B"])
    crawl.held.run_all()
    assert codes(crawl) == ["B"]


def test_with_a_cdn_the_crawl_costs_nothing() -> None:
    """Only who waits asks the API's own host."""
    crawl = Crawl("A", "B", cdn=True)
    crawl.sizer.request("B")
    crawl.held.run_all()
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert crawl.probed == [("api", "B"), ("cdn", "A")]
    assert crawl.purse.spent == [Priority.WAITING]


def test_what_has_just_changed_is_not_asked_of_a_cdn() -> None:
    """It may not know yet: that look costs a credit, of the background's."""
    crawl = Crawl("A", "B", cdn=True)
    crawl.just_changed.add("A")
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert sorted(crawl.probed) == [("api", "A"), ("cdn", "B")]
    assert crawl.purse.spent == [Priority.BACKGROUND]


def test_a_host_that_is_down_is_not_stormed() -> None:
    """After each failure of the network a crawler rests."""
    crawl = Crawl("A", "B")

    def fail(code: str) -> None:
        raise RemoteUnavailable("down")

    crawl.on_probe = fail
    crawl.sizer.listed(["A", "B"])
    crawl.held.run_all()
    assert crawl.clock.slept_s.count(REST_S) == 2


def test_a_refused_credit_is_waited_for() -> None:
    """Put back, and tried again after a rest: no thread spins while the server says no."""
    crawl = Crawl("A")
    refusals = [RateLimited("429", retry_after_s=3600.0) for _ in range(3)]

    def refuse(priority: Priority) -> None:
        if refusals:
            raise refusals.pop()

    crawl.purse.before = refuse
    crawl.sizer.listed(["A"])
    crawl.held.run_all()
    assert codes(crawl) == ["A"]
    assert len(crawl.clock.slept_s) == 3
    assert min(crawl.clock.slept_s) > 0


def test_a_store_that_cannot_be_asked_does_not_end_the_crawl_for_good() -> None:
    """The next call goes on, with as many crawlers as before."""
    crawl = Crawl("A")

    def fail() -> None:
        raise StoreUnavailable("busy")

    crawl.on_store = fail
    for _ in range(3):
        crawl.sizer.crawl()
        while crawl.held.jobs:
            try:
                crawl.held.jobs.popleft()()
            except StoreUnavailable:
                continue  # as the workers do: logged, and forgotten
    crawl.on_store = lambda: None
    crawl.sizer.crawl()
    crawl.held.run_all()
    assert codes(crawl) == ["A"]
    assert crawl.sizer._crawlers == 0


def test_seconds_left() -> None:
    """From the pace so far, once there is one."""
    crawl = Crawl(*[f"X{number}" for number in range(40)])
    assert crawl.sizer.seconds_for(100) is None
    crawl.on_probe = lambda _code: crawl.clock.advance(0.5)
    crawl.sizer.crawl()
    assert crawl.sizer.seconds_for(100) is None
    crawl.held.run_all()
    assert crawl.sizer.seconds_for(100) == pytest.approx(50.0)


def test_an_application_does_not_wait_for_the_backgrounds_turn() -> None:
    """No inversion: a crawler that waits for its turn on the very asset does not hold it up."""
    crawl = Crawl("A", workers=Workers(4, "catalog"))
    gate, waits = threading.Event(), threading.Event()

    def queue_up(priority: Priority) -> None:
        if priority is not Priority.WAITING:
            waits.set()
            assert gate.wait(PATIENCE_S)

    crawl.purse.before = queue_up
    try:
        crawl.sizer.listed(["A"])
        assert waits.wait(PATIENCE_S)
        assert crawl.sizer.request("A").result(2.0).identity == identity("A")
    finally:
        gate.set()


def test_the_crawl_leaves_room_in_the_pool() -> None:
    """With every crawler waiting for its turn, an application's probe runs at once."""
    wiring_threads = pytest.importorskip("backlotfs.wiring").CATALOG_THREADS
    crawl = Crawl(*[f"X{number}" for number in range(100)], workers=Workers(wiring_threads, "c"))
    gate, waits = threading.Event(), threading.Semaphore(0)

    def queue_up(priority: Priority) -> None:
        if priority is not Priority.WAITING:
            waits.release()
            assert gate.wait(PATIENCE_S)

    crawl.purse.before = queue_up
    try:
        crawl.sizer.crawl()
        for _ in range(CRAWLERS):
            assert waits.acquire(timeout=PATIENCE_S)
        assert crawl.sizer.request("A").result(2.0).identity == identity("A")
    finally:
        gate.set()
