# SPDX-License-Identifier: Apache-2.0
"""Syncs that go wrong: nothing half done is ever shown, and the next good one makes up for it."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from backlotfs.concurrency.clock import Deadline
from backlotfs.config.settings import Account, MountSettings
from backlotfs.emulator import EmulatedAsset, Emulator, Fault
from backlotfs.errors import BacklotError
from backlotfs.mount.stack import build_stack
from tests.conftest import Serve
from tests.fakes.clocks import HurriedClock
from tests.faults.conftest import Unmounted
from tests.support.deadlines import wait_until
from tests.support.long_runs import few_of
from tests.support.made_assets import video
from tests.support.request_log import ended_requests
from tests.support.unmounted_library import UnmountedLibrary

#: A minute apart and the newest long ago: an incremental sync brings a few of them at most.
ASSETS = [video(f"clip-{n}.mov", 100 + n, created_at=1_400_000_000 + 60 * n) for n in range(12)]
NAMES = sorted(str(asset.original_file_name) for asset in ASSETS)
PAGE = 4
PAGES = 3
LASTING = [
    Fault.status(400, "no"),
    Fault.status(401, "no"),
    Fault.of("html_500"),
    Fault.of("empty_json"),
    Fault.of("truncated_json"),
    Fault.of("object_message"),
    Fault.reset(-1),
    Fault.short_body(40),
]


def uploaded(name: str, moment: int = 1_500_000_000) -> EmulatedAsset:
    """Newer than everything else."""
    return video(name, created_at=moment)


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """The library in pages of four."""
    return serve(*ASSETS, page_cap=PAGE)


@pytest.fixture
def library(emulator: Emulator, unmounted: Unmounted) -> UnmountedLibrary:
    """Listed, and every size known: no probe is under way that would find out by itself."""
    found = unmounted(emulator)
    for asset in ASSETS:
        found.size(asset)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache folder of all stacks of a test."""
    return tmp_path / "cache"


def full_refresh(library: UnmountedLibrary) -> None:
    """Walk the whole library, and wait for the end."""
    library.stack.catalog.refresh(full=True)
    wait_until(lambda: not library.stack.catalog.refreshing, "the walk to end")


def pages_asked(emulator: Emulator) -> int:
    """How many pages of the listing were asked for."""
    return len(ended_requests(emulator, route="assets"))


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: f"{fault.kind}-{fault.parameters}")
@pytest.mark.parametrize("page", few_of(range(PAGES), 0, PAGES - 1))
def test_a_walk_that_fails(
    emulator: Emulator,
    library: UnmountedLibrary,
    expected_warnings: list[str],
    fault: Fault,
    page: int,
) -> None:
    """On whichever page: what was listed before stays; the next goes on and is whole."""
    expected_warnings.append("could not be refreshed")
    emulator.library.add(uploaded("new.mov"))
    emulator.library.delete(ASSETS[0].embed_code)
    rule = emulator.faults.add(fault, route="assets", skip=page)
    full_refresh(library)
    assert library.stack.catalog.last_error is not None
    assert sorted(library.names()) == NAMES
    emulator.faults.remove(rule)
    emulator.requests.clear()
    full_refresh(library)
    assert library.stack.catalog.last_error is None
    assert sorted(library.names()) == sorted([*NAMES[1:], "new.mov"])
    # one page more than there were: thirteen assets less one; one more to see what changed since
    assert pages_asked(emulator) <= PAGES - page + 1


def test_each_page_fails_once(emulator: Emulator, unmounted: Unmounted, cache: Path) -> None:
    """A first listing that gets one page further with each attempt: no page is asked twice."""
    for _ in range(PAGES - 1):
        rule = emulator.faults.add(Fault.status(400, "no"), route="assets", skip=1)
        with pytest.raises(BacklotError):
            first_listing(emulator, cache)
        emulator.faults.remove(rule)
    emulator.requests.clear()
    library = unmounted(emulator, cache_dir=cache)
    assert sorted(library.names()) == NAMES
    assert pages_asked(emulator) <= 2, "the last page, and what changed since the first"


def first_listing(emulator: Emulator, cache: Path) -> None:
    """An attempt at it. :raises BacklotError: it failed, and what it got is kept."""
    account = Account(emulator.api_url, emulator.api_key, emulator.api_secret)
    settings = MountSettings(account, Path("/unused"), cache_dir=cache)
    clock = HurriedClock()
    with closing(build_stack(settings, clock)) as stack:
        stack.catalog.load(Deadline(20.0, clock))


def test_a_passing_fault_is_not_noticed(emulator: Emulator, unmounted: Unmounted) -> None:
    """Each page fails twice, then comes: the listing is whole, and costs just those calls more."""
    for page in range(PAGES):
        emulator.faults.add(Fault.status(503, "later"), route="assets", skip=3 * page, times=2)
    library = unmounted(emulator)
    assert sorted(library.names()) == NAMES
    assert pages_asked(emulator) <= PAGES + 2 * PAGES


def test_too_many_requests(
    emulator: Emulator, unmounted: Unmounted, expected_warnings: list[str]
) -> None:
    """A 429 in the middle: waited for as long as the server says, then gone on."""
    expected_warnings.append("(429)")
    emulator.faults.add(Fault.rate_limited(1), route="assets", skip=1, times=1)
    began = time.monotonic()
    library = unmounted(emulator)
    assert time.monotonic() - began >= 1
    assert sorted(library.names()) == NAMES
    assert pages_asked(emulator) == PAGES + 1


def test_what_changes_while_it_is_listed(emulator: Emulator, library: UnmountedLibrary) -> None:
    """Uploads and deletions between two pages: right after the next sync at the latest."""
    rule = emulator.faults.add(Fault.delay(60), route="assets", skip=1, times=1)
    library.stack.catalog.refresh(full=True)
    emulator.requests.wait_for(lambda _log: rule.hits == 1)
    emulator.library.add(uploaded("new.mov"))
    emulator.library.delete(ASSETS[11].embed_code)
    emulator.library.delete(ASSETS[0].embed_code)
    rule.release()
    wait_until(lambda: not library.stack.catalog.refreshing, "the walk to end")
    library.refresh()
    gone = {ASSETS[0].original_file_name, ASSETS[11].original_file_name}
    assert sorted(library.names()) == sorted([*(set(NAMES) - gone), "new.mov"])


def test_an_incremental_sync_is_whole_or_nothing(
    emulator: Emulator, library: UnmountedLibrary
) -> None:
    """The list of deletions fails: the upload that came before it is not shown alone."""
    emulator.library.add(uploaded("new.mov"))
    emulator.library.delete(ASSETS[3].embed_code)
    rule = emulator.faults.add(Fault.status(400, "no"), route="deleted_assets")
    with pytest.raises(BacklotError):
        library.refresh()
    assert sorted(library.names()) == NAMES
    emulator.faults.remove(rule)
    library.refresh()
    assert sorted(library.names()) == sorted({*NAMES, "new.mov"} - {"clip-3.mov"})


def test_edits_of_the_second_of_the_last_sync(
    emulator: Emulator, library: UnmountedLibrary
) -> None:
    """Whole seconds are all the API tells: a second upload in the same one is not overlooked."""
    for name in ("one.mov", "two.mov", "three.mov"):
        emulator.library.add(uploaded(name))
        library.refresh()
        assert name in library.names()


@pytest.mark.parametrize("jump_s", [2 * 86_400.0, -3 * 86_400.0], ids=["ahead", "back"])
def test_a_clock_that_jumps(serve: Serve, unmounted: Unmounted, jump_s: float) -> None:
    """Costs one walk at most; uploads and deletions are seen as ever."""
    jumped = [0.0]
    emulator = serve(*ASSETS, page_cap=PAGE, clock=lambda: time.time() + jumped[0])
    library = unmounted(emulator)
    jumped[0] = jump_s
    library.clock.jump(jump_s)
    emulator.requests.clear()
    for turn in range(3):
        new = emulator.library.add(uploaded(f"new-{turn}.mov", 1_500_000_000 + turn))
        library.refresh()
        assert new.original_file_name in library.names()
    emulator.library.delete(ASSETS[5].embed_code)
    library.refresh()
    assert "clip-5.mov" not in library.names()
    assert pages_asked(emulator) <= PAGES + 1 + 4


def test_a_full_last_page(serve: Serve, unmounted: Unmounted) -> None:
    """A server that names a next page after the last, and answers 404 for it: that was all."""
    emulator = serve(*ASSETS, page_cap=PAGE, exact_multiple="token_then_404")
    library = unmounted(emulator)
    assert sorted(library.names()) == NAMES
    emulator.library.delete(ASSETS[1].embed_code)
    full_refresh(library)
    assert "clip-1.mov" not in library.names()


def test_an_empty_answer(
    emulator: Emulator, unmounted: Unmounted, cache: Path, expected_warnings: list[str]
) -> None:
    """Doubted once, also when the next attempt is another mount's; then believed, then undone."""
    expected_warnings.append("could not be refreshed")
    nothing = Fault.status(200, '{"items": []}', content_type="application/json")
    library = unmounted(emulator, cache_dir=cache)
    sizes = {asset.embed_code: library.size(asset) for asset in ASSETS}
    rule = emulator.faults.add(nothing, route="assets")
    full_refresh(library)
    assert sorted(library.names()) == NAMES
    full_refresh(library)
    assert library.names() == []
    emulator.faults.remove(rule)
    full_refresh(library)
    assert sorted(library.names()) == NAMES
    assert {asset.embed_code: library.size(asset) for asset in ASSETS} == sizes


def test_the_doubt_ends_with_a_good_answer(
    emulator: Emulator, library: UnmountedLibrary, expected_warnings: list[str]
) -> None:
    """Empty, full, empty: doubted again, not counted together."""
    expected_warnings.append("could not be refreshed")
    nothing = Fault.status(200, '{"items": []}', content_type="application/json")
    for _ in range(2):
        rule = emulator.faults.add(nothing, route="assets")
        full_refresh(library)
        assert sorted(library.names()) == NAMES
        emulator.faults.remove(rule)
        full_refresh(library)
        assert sorted(library.names()) == NAMES


def test_a_server_without_where(serve: Serve, unmounted: Unmounted) -> None:
    """Found out by the first sync, remembered; its walks see edits, uploads and deletions."""
    emulator = serve(*ASSETS, page_cap=PAGE, supports_where=False)
    library = unmounted(emulator)
    library.refresh()
    emulator.requests.clear()
    emulator.library.add(uploaded("new.mov"))
    emulator.library.delete(ASSETS[2].embed_code)
    library.refresh()
    assert sorted(library.names()) == sorted({*NAMES, "new.mov"} - {"clip-2.mov"})
    assert pages_asked(emulator) == PAGES
    assert library.stack.catalog.last_error is None
