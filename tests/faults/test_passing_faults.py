# SPDX-License-Identifier: Apache-2.0
"""The origin misbehaves within a body, or at random: right bytes, and the reader never hears."""

from __future__ import annotations

import pytest

from backlotfs.emulator import Fault
from backlotfs.http import pool
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.faults.fault_matrix import MATRIX
from tests.support.made_assets import MIB, video

REEL = video("reel.mov", 300_000)
WHOLE = "bytes=0-299999"
#: Where a transfer goes on that had delivered three blocks.
REST = "bytes=196608-299999"
#: A busy machine may be silent for that long.
BUSY_S = 3.0


def test_a_cut_body_is_resumed_where_it_ended(serve: Serve, unmounted: Unmounted) -> None:
    """Whole blocks that arrived stay; the next GET begins behind them."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.short_body(200_000), route="source", times=1)
    library.assert_reads(fh, REEL, 0, 300_000)
    assert library.gets(REEL) == [(WHOLE, 206), (REST, 206)]


def test_a_reset_body_is_resumed_at_a_block(serve: Serve, unmounted: Unmounted) -> None:
    """A reset may take received bytes with it: the next GET begins where whole blocks end."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.reset(200_000), route="source", times=1)
    library.assert_reads(fh, REEL, 0, 300_000)
    first, second = library.gets(REEL)
    assert first == (WHOLE, 206)
    block = 65_536
    starts = [WHOLE, *(f"bytes={at}-299999" for at in range(block, 4 * block, block))]
    assert second in [(start, 206) for start in starts]


def test_cuts_with_progress_between_do_not_add_up(serve: Serve, unmounted: Unmounted) -> None:
    """Ten cuts of one transfer, each a block further: more than a policy of five would allow."""
    reel = video("long.mov", 12 * 131_072)
    emulator = serve(reel)
    library = unmounted(emulator)
    fh = library.open(reel)
    emulator.faults.add(Fault.short_body(150_000), route="source", times=10)
    library.assert_reads(fh, reel, 0, 12 * 131_072)
    starts = [str(wanted).split("=")[1].split("-")[0] for wanted, _ in library.gets(reel)]
    assert starts == [str(block * 131_072) for block in range(11)]


def test_a_stalled_body_is_given_up_and_resumed(
    serve: Serve, unmounted: Unmounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte for the stall timeout: a new GET from the block reached."""
    monkeypatch.setattr(pool, "STALL_TIMEOUT_S", BUSY_S)
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.stall(200_000), route="source", times=1)
    library.assert_reads(fh, REEL, 0, 300_000)
    assert library.gets(REEL) == [(WHOLE, 206), (REST, 206)]


def test_a_slow_body_is_waited_for(
    serve: Serve, unmounted: Unmounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower than the stall timeout in all, but never silent for so long: one GET."""
    monkeypatch.setattr(pool, "STALL_TIMEOUT_S", BUSY_S)
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.trickle(80_000), route="source", times=1)
    library.assert_reads(fh, REEL, 0, 300_000)
    assert library.gets(REEL) == [(WHOLE, 206)]


@pytest.mark.parametrize("extra", [1, 5000, 100_000])
def test_an_over_long_body_that_lasts_is_not_noticed(
    serve: Serve, unmounted: Unmounted, extra: int
) -> None:
    """Every answer goes on after its length: right bytes, each range asked for twice at most.

    Twice where its connection was used again before what follows the last answer had come.
    """
    reel = video("long.mov", 4 * MIB)
    emulator = serve(reel)
    library = unmounted(emulator)
    fh = library.open(reel)
    rule = emulator.faults.add(Fault.long_body(extra), route="source")
    offsets = (3 * MIB, 0, MIB + 7, 2 * MIB + 100)
    for offset in offsets:
        library.assert_reads(fh, reel, offset, 50_000)
    library.assert_whole(reel)
    gets = library.gets(reel)
    assert {status for _, status in gets} == {206}
    assert len(gets) == rule.hits <= 2 * len(set(gets))
    assert library.url_requests(reel) == 1


def test_bytes_after_the_body_spoil_no_later_answer(serve: Serve, unmounted: Unmounted) -> None:
    """An over-long body is cut at its length, and what follows is not taken for an answer."""
    reel = video("long.mov", 4 * MIB)
    emulator = serve(reel)
    library = unmounted(emulator)
    fh = library.open(reel)
    emulator.faults.add(Fault.long_body(5000), route="source", times=4)
    for offset in (3 * MIB, 0, MIB, 2 * MIB, 100):
        library.assert_reads(fh, reel, offset, 70_000)
    library.assert_whole(reel)


def test_many_random_faults_never_change_a_byte(serve: Serve, unmounted: Unmounted) -> None:
    """Every sixth GET goes wrong in one of many ways: the whole file is right all the same."""
    reel = video("long.mov", 10 * MIB + 7)
    emulator = serve(reel)
    library = unmounted(emulator)
    faults = [row.fault for row in MATRIX.values() if row.renewals_once == 0]
    faults += [Fault.reset(90_000), Fault.short_body(140_000)]
    rules = [
        emulator.faults.add(fault, route="source", probability=1 / (6 * len(faults)))
        for fault in faults
    ]
    for _ in range(3):
        library.assert_whole(reel)
        emulator.library.replace(reel.embed_code, content=reel.content)
    assert sum(rule.hits for rule in rules) >= 1


def test_a_failed_read_ahead_costs_nothing_and_sticks_to_nothing(
    serve: Serve, unmounted: Unmounted
) -> None:
    """Read-ahead fails for good; whoever reads there later fetches for himself."""
    reel = video("long.mov", 2 * MIB)
    emulator = serve(reel)
    library = unmounted(emulator)
    fh = library.open(reel)
    denied = Fault.of("access_denied")
    rule = emulator.faults.add(denied, route="source", offsets=(131_072, 2 * MIB))
    library.assert_reads(fh, reel, 0, 131_072)
    emulator.requests.wait_for(lambda _log: rule.hits >= 4)
    emulator.faults.remove(rule)
    library.assert_reads(fh, reel, 131_072, 131_072)
    assert library.gets(reel)[-1][1] == 206
