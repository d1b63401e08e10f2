# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks promise, and how they judge it."""

from __future__ import annotations

import pytest

from benchmarks.origin import LOCAL, REMOTE
from benchmarks.origin_check import Seen, complaints
from benchmarks.read_engine.cases import CASES
from benchmarks.read_engine.contestants import OURS, PEERS
from benchmarks.read_engine.metrics import METRICS
from benchmarks.read_engine.running import rotated
from benchmarks.read_engine.targets import NotMeasured, Target

_RESULTS = {
    OURS.name: {"rate_mb_s": [400.0, 500.0, 10.0], "wall_s": [0.2]},
    "slow": {"rate_mb_s": [50.0]},
    "quick": {"rate_mb_s": [200.0, 300.0, 250.0]},
}


def test_a_ratio_is_taken_of_medians_to_the_best_peer() -> None:
    """Ours is divided by the best of the peers that were measured."""
    target = Target(metric="rate_mb_s", at_least=1.6, of=("slow", "quick", "absent"))
    assert target.value(_RESULTS) == 400 / 250
    assert target.met(_RESULTS)
    assert not Target(metric="rate_mb_s", at_least=1.61, of=("quick",)).met(_RESULTS)


def test_the_best_of_what_should_be_small_is_the_least() -> None:
    """A target with an upper limit is held against the peer with the smallest number."""
    target = Target(metric="rate_mb_s", at_most=8, of=("slow", "quick"))
    assert target.value(_RESULTS) == 8
    assert target.met(_RESULTS)


def test_a_target_of_zero_is_met_by_zero_only() -> None:
    """Nothing fetched means nothing."""
    target = Target(metric="fetched_mib", at_most=0)
    assert target.met({OURS.name: {"fetched_mib": [0.0]}})
    assert not target.met({OURS.name: {"fetched_mib": [0.001]}})


@pytest.mark.parametrize(
    "target",
    [
        Target(metric="rate_mb_s", at_least=1, of=("absent",)),
        Target(metric="p95_ms", at_most=1),
    ],
)
def test_what_was_not_measured_is_not_judged(target: Target) -> None:
    """A missing number is neither met nor missed."""
    with pytest.raises(NotMeasured):
        target.met(_RESULTS)


def test_a_target_has_one_limit() -> None:
    """Two limits, or none, are refused when it is made."""
    with pytest.raises(ValueError, match="one limit"):
        Target(metric="wall_s")
    with pytest.raises(ValueError, match="one limit"):
        Target(metric="wall_s", at_least=1, at_most=2)


def test_every_contestant_begins_sometimes() -> None:
    """Over as many rounds as there are contestants nobody is always first, or always last."""
    peers = list(PEERS)
    orders = [rotated(peers, number) for number in range(len(peers))]
    assert all(sorted(order) == sorted(peers) for order in orders)
    assert len({order[0].name for order in orders}) > 1
    assert len({order[-1].name for order in orders}) > 1


@pytest.mark.parametrize("name", CASES)
def test_cases_name_what_exists(name: str) -> None:
    """Targets and plots name known metrics and contestants that take part; ours is first."""
    case = CASES[name]
    taking_part = [one.name for one in case.contestants]
    assert taking_part[0] == OURS.name
    assert {case.shown, *(target.metric for target in case.targets)} <= set(METRICS)
    assert {peer for target in case.targets for peer in target.of} <= set(taking_part)


def test_an_origin_that_is_as_far_as_it_says_passes() -> None:
    """What the profiles promise is accepted."""
    remote = Seen(0.0905, 0.031, 61e6, 0.047)
    assert complaints(remote, REMOTE) == []
    assert complaints(Seen(0.001, 0.001, 2e9, 0.002), LOCAL) == []


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        (Seen(0.031, 0.031, 61e6, 0.047), "new connection"),
        (Seen(0.0905, 0.002, 61e6, 0.047), "kept-alive"),
        (Seen(0.0905, 0.031, 500e6, 0.047), "500 MB/s"),
        (Seen(0.0905, 0.031, 61e6, 0.032), "1 MiB"),
        (Seen(0.2, 0.031, 61e6, 0.047), "200.0 ms"),
    ],
)
def test_an_origin_that_is_off_is_complained_of(seen: Seen, complaint: str) -> None:
    """One value that is off gives one sentence that says which."""
    found = complaints(seen, REMOTE)
    assert len(found) == 1
    assert complaint in found[0]


def test_no_case_reads_the_files_of_another() -> None:
    """In one run, sources with the same name are made once."""
    by_name = {case.sources.name: case.sources for case in CASES.values()}
    for case in CASES.values():
        assert case.sources is by_name[case.sources.name], case.name
