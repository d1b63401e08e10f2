# SPDX-License-Identifier: Apache-2.0
"""Fault rules: which requests they strike, what they may say, how they are written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import Fault, FaultPlan
from backlotfs.emulator.faults import FaultRule


def struck(plan: FaultPlan, route: str = "source", **request: Any) -> FaultRule | None:
    """The rule that strikes one request, if any does."""
    return plan.strike(route, request.get("embed_code"), request.get("start")).rule


def test_nth_request() -> None:
    """``skip=2, times=1`` is the third that fits, and no other."""
    plan = FaultPlan()
    rule = plan.add(Fault.reset(), route="source", skip=2, times=1)
    assert [struck(plan) is rule for _ in range(5)] == [False, False, True, False, False]
    assert rule.hits == 1


def test_route_asset_and_range() -> None:
    """Each condition keeps the others' requests out, and does not count them."""
    plan = FaultPlan()
    plan.add(Fault.reset(), route="source", embed_code="A", offsets=(10, 20), times=1)
    assert struck(plan, "streams", embed_code="A", start=15) is None
    assert struck(plan, embed_code="B", start=15) is None
    assert struck(plan, embed_code="A", start=20) is None
    assert struck(plan, embed_code="A") is None
    assert struck(plan, embed_code="A", start=10) is not None


def test_first_rule_wins_and_delays_add_up() -> None:
    """A request meets every delay and one other fault."""
    plan = FaultPlan()
    plan.add(Fault.delay(1), times=2)
    first = plan.add(Fault.of("slow_down"), times=1)
    plan.add(Fault.delay(2))
    second = plan.add(Fault.of("html_500"))
    strikes = [plan.strike("assets", None, None) for _ in range(3)]
    assert [len(strike.delays) for strike in strikes] == [2, 2, 1]
    assert [strike.rule for strike in strikes] == [first, second, second]


def test_nodes_stand_beside_another_fault() -> None:
    """A broken answer is one of some node too."""
    plan = FaultPlan()
    nodes = plan.add(Fault.nodes(3))
    plan.add(Fault.nodes(2))
    reset = plan.add(Fault.reset(), times=1)
    strikes = [plan.strike("source", None, None) for _ in range(2)]
    assert [strike.nodes for strike in strikes] == [nodes, nodes]
    assert [strike.rule for strike in strikes] == [reset, None]
    assert [nodes.node(7).number for _ in range(4)] == [0, 1, 2, 0]


def test_nodes_by_connection() -> None:
    """A connection leads to one node."""
    rule = FaultPlan().add(Fault.nodes(by_connection=True))
    assert [rule.node(port).number for port in (5, 5, 6, 5, 8, 6)] == [0, 0, 1, 0, 0, 1]


def test_probability_is_seeded() -> None:
    """The same seed strikes the same requests."""

    def pattern(seed: int) -> list[bool]:
        plan = FaultPlan(seed=seed)
        plan.add(Fault.reset(), probability=0.3)
        return [struck(plan) is not None for _ in range(200)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 30 < sum(pattern(1)) < 90


def test_release_and_remove() -> None:
    """A released rule strikes no more; neither does one that was removed or cleared."""
    plan = FaultPlan()
    rules = [plan.add(Fault.stall()) for _ in range(3)]
    rules[0].release()
    assert struck(plan) is rules[1]
    plan.remove(rules[1])
    assert struck(plan) is rules[2]
    plan.clear()
    assert struck(plan) is None


@pytest.mark.parametrize(
    ("kind", "parameters", "complaint"),
    [
        ("earthquake", {}, "no fault 'earthquake'"),
        ("reset", {"seconds": 1}, "takes no seconds"),
        ("trickle", {}, "needs a value for bytes_per_s"),
        ("delay", {"seconds": "long"}, "needs a value for seconds"),
        ("redirect", {}, "needs a value for location"),
        ("nodes", {"nodes": 0}, "needs nodes above 0"),
    ],
)
def test_mistaken_faults(kind: str, parameters: dict[str, Any], complaint: str) -> None:
    """A fault that could not strike is refused when it is written, not when it is due."""
    with pytest.raises(ValueError, match=complaint):
        Fault.of(kind, **parameters)


def test_mistaken_rules() -> None:
    """So is a rule about a route that does not exist, or a probability of 2."""
    with pytest.raises(ValueError, match="no route"):
        FaultPlan().add(Fault.reset(), route="sources")
    with pytest.raises(ValueError, match="between 0 and 1"):
        FaultPlan().add(Fault.reset(), probability=2)


def test_from_json(tmp_path: Path) -> None:
    """The file form says the same as the calls."""
    path = tmp_path / "plan.json"
    rules = [
        {"fault": "status", "status": 503, "route": "streams", "times": 1},
        {"fault": "stall", "at_byte": 7, "seconds": 5, "offsets": [0, 10]},
    ]
    path.write_text(json.dumps({"seed": 3, "rules": rules}), encoding="utf-8")
    plan = FaultPlan.from_json(path)
    first, second = struck(plan, "streams"), struck(plan, start=5)
    assert first is not None
    assert second is not None
    assert first.fault == Fault.status(503, "")
    assert second.fault == Fault.stall(7, 5)
    assert struck(plan, start=10) is None


@pytest.mark.parametrize(
    "document",
    ["no json", "[]", "{}", '{"rules": [{}]}', '{"rules": [{"fault": "reset", "at": 5}]}', "5",
     '{"rules": [{"fault": "reset", "route": "x"}]}', '{"rules": [{"fault": "trickle"}]}',
     '{"rules": [{"fault": "trickle", "bytes_per_s": 0}]}',
     '{"rules": [{"fault": "status", "status": 503, "headers": "x"}]}',
     '{"rules": [{"fault": "reset", "skip": "x"}]}', '{"rules": [{"fault": "reset", "times": -1}]}',
     '{"rules": [{"fault": "reset", "offsets": [5]}]}',
     '{"rules": [{"fault": "reset", "offsets": [1, "x"]}]}'],
)  # fmt: skip  # a line reads better
def test_bad_plans(tmp_path: Path, document: str) -> None:
    """One sentence that names the file."""
    path = tmp_path / "plan.json"
    path.write_text(document, encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan\.json: "):
        FaultPlan.from_json(path)
