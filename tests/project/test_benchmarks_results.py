# SPDX-License-Identifier: Apache-2.0
"""Results of the benchmarks: saved, and shown as a page."""

from __future__ import annotations

from pathlib import Path

from benchmarks.read_engine.cases import CASES, IN_ORDER
from benchmarks.read_engine.contestants import OURS, RCLONE
from benchmarks.read_engine.page import section, verdicts
from benchmarks.read_engine.results import CaseResults, load
from benchmarks.report import write_section


def _results(ours_ms: float) -> CaseResults:
    results = CaseResults("remote-random-4k", "a machine")
    for number in range(5):
        results.add(OURS.name, {"median_ms": ours_ms + number, "p95_ms": 40.0})
        results.add(RCLONE.name, {"median_ms": 94.0, "p95_ms": 140.0})
    return results


def test_results_are_what_was_saved(tmp_path: Path) -> None:
    """A round trip through the file changes nothing; a case that never ran has none."""
    results = _results(30.0)
    results.save(tmp_path)
    assert load("remote-random-4k", tmp_path) == results
    assert load("local-cp", tmp_path) is None
    assert results.rounds == 5


def test_the_page_says_what_was_met() -> None:
    """Each target of a case has its verdict, by the median."""
    words = {target.metric: verdict for _, target, _, verdict in verdicts([_results(32.5)])}
    assert words == {"median_ms": "met", "p95_ms": "met", "fetched_ratio": "not measured"}
    missed = [verdict for _, _, _, verdict in verdicts([_results(33.5)])]
    assert missed[0] == "**missed**"


def test_the_page_has_every_contestant_that_ran() -> None:
    """Medians and spread in the order of the case; who did not run has no row."""
    text = section([_results(30.0)], ["benchmarks/reading.svg"])
    rows = [line for line in text.splitlines() if line.startswith(("| backlotfs", "| rclone"))]
    assert rows == [
        "| backlotfs | 32.0 (30.0-34.0) | 40.0 (40.0-40.0) |",
        "| rclone | 94.0 (94.0-94.0) | 140.0 (140.0-140.0) |",
    ]
    assert "![reading](benchmarks/reading.svg)" in text


def test_a_section_leaves_the_others(tmp_path: Path) -> None:
    """Writing one section of the page keeps what another command wrote."""
    page = tmp_path / "page.md"
    write_section("credits", "CREDITS", page=page)
    write_section("read_engine", "OLD", page=page)
    write_section("read_engine", "NEW", page=page)
    text = page.read_text("utf-8")
    assert "CREDITS" in text
    assert "NEW" in text
    assert "OLD" not in text


def test_cases_have_names_of_their_own() -> None:
    """Results are files by the case's name: no two cases share one."""
    assert all(case.name == name for name, case in CASES.items())
    assert len(CASES) == len(IN_ORDER)
