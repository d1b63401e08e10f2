# SPDX-License-Identifier: Apache-2.0
"""Any interleaving of GETs, hedges, failures and readers: right bytes or an error, and all even."""

from __future__ import annotations

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.errors import BacklotError, RemoteUnavailable
from backlotfs.fetch.loader import PendingRead
from tests.fakes.records import source_version
from tests.fakes.sources import expected_bytes, result
from tests.unit.fetch.gated_transfers import GatedGet, GatedStore

V1 = source_version(size=195)

steps = st.lists(
    st.tuples(
        st.sampled_from(["read", "read", "ahead", "land", "land", "land", "fail", "look", "kill"]),
        st.integers(0, 19),
        st.integers(1, 60),
    ),
    max_size=40,
)


class Interleaving:
    """One run: what was begun, and what is still to go on."""

    def __init__(self) -> None:
        self.gated = GatedStore()
        self.gets: list[GatedGet] = []
        self.demands: list[PendingRead] = []

    def step(self, kind: str, place: int, length: int) -> None:
        """One thing that may happen."""
        wanted = ByteRange(place * 10, place * 10 + length).clamped(V1.size)
        if kind == "read":
            self.demands.append(self.gated.store.demand(V1, wanted))
        elif kind == "ahead":
            self.gated.store.prefetch(V1, wanted, lambda _missing: True)
        elif kind == "look":
            self.gated.look(0.2)
        elif kind == "kill" and self.demands:
            self.demands[place % len(self.demands)].abandon()
        self._settle()
        if kind in ("land", "fail") and self.gets:
            get = self.gets[place % len(self.gets)]
            self.go_on(get, fail=kind == "fail")

    def go_on(self, get: GatedGet, *, fail: bool = False) -> None:
        """Let a GET take a step, or end."""
        if get.whole:
            get.finish()
        elif fail:
            get.fail(RemoteUnavailable("cut"))
        else:
            with contextlib.suppress(BacklotError):
                get.land()
                return
            get.wait_over()
        self.gets.remove(get)

    def _settle(self) -> None:
        """Every GET that has a place has begun, or was found not to be wanted."""
        self.gated.wait_begun()
        self.gets += self.gated.begun()


@settings(max_examples=60)
@given(steps=steps)
# the last step begins a new GET: for a reader who joined a read-ahead that failed
@example(steps=[("ahead", 0, 1), ("read", 0, 1), ("fail", 0, 1)])
def test_right_bytes_or_an_error(steps: list[tuple[str, int, int]]) -> None:
    """Every reader is answered once all GETs have ended, and nothing is left behind."""
    run = Interleaving()
    for kind, place, length in steps:
        run.step(kind, place, length)
    run._settle()  # the last step may have begun a GET
    while run.gets:
        run.go_on(run.gets[0])
        run._settle()
    for demand in run.demands:
        if not demand.abandoned:
            assert demand.complete
            with contextlib.suppress(RemoteUnavailable):
                assert result(demand) == expected_bytes(V1, demand.wanted)
    run.gated.check_at_rest()
