# SPDX-License-Identifier: Apache-2.0
"""What the soak judges by."""

from __future__ import annotations

from pathlib import Path

from tests.soak.evidence import Evidence, Hostility
from tests.soak.process_figures import Figures, growth
from tests.soak.profile_bad import KINDS
from tests.soak.readers import Reader

FLAT = [Figures(20, 15, 80.0)] * 9


def evidence(seconds: float = 600.0) -> Evidence:
    """Of a soak in which every promise held, slow for the most part."""
    reader = Reader(Path(), [], 0)
    reader.latencies_s = [0.1] * 100
    memory = {"cached_bytes": 2**20, "leased_bytes": 0, "in_flight_bytes": 0}
    struck = dict.fromkeys(KINDS, 1)
    well = Reader(Path(), [], 1)
    well.latencies_s = [0.1] * 100
    hostility = Hostility([well], [], 100, [2.0], 3.0)
    return Evidence(seconds, [reader], FLAT, [15.0], {"source": 100}, struck, memory, hostility)


def test_growth_is_that_of_the_last_third() -> None:
    """What a mount takes in its first third is its own business."""
    rising = [Figures(n, 10, n * 2.0) for n in range(9)]
    assert growth(FLAT) == Figures(0, 0, 0.0)
    assert growth(rising) == Figures(3, 0, 6.0)


def test_each_promise_can_fail() -> None:
    """Wrong bytes, errors, latency, URLs, growth, memory, and an origin that was too good."""
    assert evidence().failures() == []
    bad = evidence()
    bad.readers[0].wrong.append("reel.mov: pread(1, 0)")
    bad.readers[0].errors["EIO"] += 1
    bad.readers[0].latencies_s = [6.0] * 100
    bad.looks = [Figures(20, n * 10, 80.0) for n in range(9)]
    bad.url_gaps_s = [15.0, 12.9, 15.0]
    bad.memory = {"cached_bytes": 0, "leased_bytes": 65536, "in_flight_bytes": 0}
    bad.struck = {**bad.struck, "stall": 0}
    bad.hostility.healthy[0].latencies_s = [1.5] * 100
    bad.hostility.uploads_s = [11.0]
    bad.hostility.recovery_s = 6.0
    verdicts = bad.failures()
    for word in (
        "wrong bytes",
        "EIO",
        "p99",
        "within 12.9 s",
        "not flat",
        "memory in use",
        "no fault of stall",
        "that is well is 1.50 s",
        "upload was seen after 11.0 s",
        "came back after 6.0 s",
    ):
        assert any(word in verdict for verdict in verdicts), word
    assert len(verdicts) == 10


def test_a_hostile_host_that_had_nobody_to_harm_proves_nothing() -> None:
    """Latencies and waits of nobody are no evidence."""
    bad = evidence()
    bad.hostility.healthy[0].latencies_s = []
    bad.hostility.requests = 0
    bad.hostility.uploads_s = []
    assert bad.failures() == [
        "the host that is well was not read",
        "the hostile host was not asked",
        "nothing was uploaded",
    ]


def test_a_transfer_that_never_ends_is_memory_in_use() -> None:
    """Though it may not have been given any yet."""
    bad = evidence()
    bad.memory = {"cached_bytes": 0, "leased_bytes": 0, "in_flight_bytes": 65536}
    assert bad.failures() == ["memory in use when nobody reads: 65536 bytes"]


def test_a_short_soak_need_not_meet_every_fault() -> None:
    """Half a percent of the GETs of some seconds may be none."""
    short = evidence(seconds=30.0)
    short.struck = {}
    assert short.failures() == []


def test_the_figures_name_all_that_is_judged() -> None:
    """So that a run can be quoted."""
    text = "\n".join(evidence().figures())
    for word in ("wrong reads 0", "p99", "15.0 s apart", *KINDS, "threads 20", "leased 0"):
        assert word in text, word
