# SPDX-License-Identifier: Apache-2.0
"""The dashboard and the alert rules of docs/observability name metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.project.source_tree import ROOT

FOLDER = ROOT / "docs" / "observability"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
ALERTS = (FOLDER / "alerts.yml").read_text("utf-8")
ALERT_TESTS = (FOLDER / "alerts-test.yml").read_text("utf-8")
#: `tests/mounted/test_metrics.py` compares the page with a scrape.
KNOWN = set(re.findall(r"^\| `(backlotfs_\w+)`", (FOLDER / "metrics.md").read_text("utf-8"), re.M))
_NAME = re.compile(r"\b(?:backlotfs|process)_\w+")
#: Of prometheus-client; every process of Linux has them.
OF_THE_PROCESS = {
    "process_cpu_seconds_total", "process_max_fds", "process_open_fds",
    "process_resident_memory_bytes",
}  # fmt: skip  # a list


def expressions() -> list[str]:
    """All of the dashboard."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    """In its panels and its variables."""
    text = "\n".join([*expressions(), json.dumps(DASHBOARD["templating"])])
    assert set(_NAME.findall(text)) <= KNOWN | OF_THE_PROCESS


def test_the_dashboard_shows_what_matters() -> None:
    """A metric that is on no panel is one of few; a new one gets its place, or its name here."""
    shown = set(_NAME.findall("\n".join(expressions())))
    assert KNOWN - shown == {
        "backlotfs_api_refused_seconds",
        "backlotfs_memory_in_flight_bytes",
        "backlotfs_mount_start_time_seconds",
        "backlotfs_next_files_fetched_bytes_total",
        "backlotfs_next_files_used_bytes_total",
        "backlotfs_passthrough_opens_total",
        "backlotfs_pin_quota_bytes",
        "backlotfs_pinned_files",
        "backlotfs_pinned_needed_bytes",
        "backlotfs_syncing",
    }


def test_the_panels_lie_side_by_side() -> None:
    """Each has an id, a title and a place of its own, and takes its data from the variable."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["description"]
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_the_alerts_watch_metrics_that_there_are() -> None:
    """And so do their tests."""
    rules = re.findall(r"expr: (.+?)\n +(?:for|labels):", ALERTS, re.S)
    assert len(rules) == len(re.findall(r"- alert: ", ALERTS)) > 5
    for text in (*rules, ALERT_TESTS):
        assert set(_NAME.findall(text)) <= KNOWN | OF_THE_PROCESS


def test_each_alert_says_what_to_do_and_is_tested() -> None:
    """With a summary, an action and a test in which it fires."""
    for block in ALERTS.split("- alert: ")[1:]:
        name = block.split("\n", 1)[0]
        assert re.search(r"severity: (critical|warning)\n", block), name
        assert "summary: " in block, name
        assert "action: " in block, name
        tested = re.findall(rf"- alertname: {name}\n +eval_time: \w+\n +exp_alerts:", ALERT_TESTS)
        assert tested, f"write a test of {name} into alerts-test.yml"


def promtool(*words: str, folder: Path = FOLDER) -> str:
    """What promtool says. :raises AssertionError: it is not content."""
    done = subprocess.run(
        ["promtool", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_promtool_takes_the_alerts() -> None:
    """And each fires when it should, and not before."""
    assert f"{ALERTS.count('- alert: ')} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts-test.yml")


@pytest.mark.long
def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """Each as a rule that records it, with the variables of Grafana filled in."""
    rules = [
        {
            "record": f"panel:number{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, expression in enumerate(expressions())
    ]
    group = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "panels.yml").write_text(json.dumps(group))  # YAML takes JSON
    said = promtool("check", "rules", "panels.yml", folder=tmp_path)
    assert f"{len(rules)} rules found" in said
