"""When the CDN host's answers may be from before a change."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import pytest

from backlotfs.api.records import Source
from backlotfs.clock import Deadline
from backlotfs.remote.late_lookup import LATE_S, LateLookup
from tests.unit.fakes import ManualClock


class Api:
    """Notes whether it was asked for something fresh."""

    def __init__(self, clock_skew_s: float = 0.0) -> None:
        self.clock_skew_s = clock_skew_s
        self.asked: list[tuple[str, bool]] = []

    def get_source(self, embed_code: str, *, deadline: Deadline, fresh: bool) -> Source:
        """Nothing of interest."""
        self.asked.append((embed_code, fresh))
        return Source(None, 5)


def test_it_asks_the_cdn_host() -> None:
    """Not the API's own, which would cost a credit."""
    api = Api(clock_skew_s=7.0)
    late = LateLookup(api)
    assert late.get_source("E1", deadline=Deadline(60, ManualClock())).file_size == 5
    assert api.asked == [("E1", False)]
    assert late.clock_skew_s == 7.0


@pytest.mark.parametrize("skew_s", [0.0, 3600.0, -3600.0])
def test_it_knows_what_is_long_ago(skew_s: float) -> None:
    """By the server's clock, whose time a record shows."""
    late = LateLookup(Api(skew_s))
    now_s = 1_500_000_000.0
    assert late.knows_of(now_s + skew_s - LATE_S - 1, now_s)
    assert not late.knows_of(now_s + skew_s - LATE_S, now_s)
    assert not late.knows_of(now_s + skew_s, now_s)
