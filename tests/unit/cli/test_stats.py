# SPDX-License-Identifier: Apache-2.0
"""``stats``: what a mount tells of its reads, for people and for programs."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest
from click.testing import CliRunner

from tests.unit.cli.made_answers import STATS, usage

MODULE = import_module("backlotfs.cli.status")


def said(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *arguments: str) -> str:
    """What is printed of this answer."""
    monkeypatch.setattr(MODULE, "ask", lambda _place, command: {"stats": answer}[command])
    result = CliRunner().invoke(MODULE.stats, ["/mnt/a", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number, with its unit; what went wrong only where something did."""
    lines = said(monkeypatch, STATS).splitlines()
    assert [line[15:] for line in lines[:14]] == [
        "backlot:main on /mnt/a (pid 7)",
        "2016-03-01 21:43:12+00:00",
        "3.0 MiB in 12 reads, 1 failed",
        "6.0 MiB (2.00 for each byte read)",
        "5.0 MiB",
        "1.5 KiB",
        "3.0 MiB fetched before an open: 2.0 MiB read, 1.0 MiB not",
        "memory 6 (60 %), disk 3 (30 %), network 1 (10 %)",
        "9 made: 2 dropped, 1 cut",
        "2 made, 1 won",
        "3",
        "64.0 MiB of 256.0 MiB cached, 1.0 MiB in use, 4.0 MiB in flight",
        "1.0 GiB of 10.0 GiB used, 5 blocks evicted, 6 rejected, 0 damaged",
        "1 file open, 7 opens so far",
    ]
    assert [line.split() for line in lines[15:]] == [
        ["process", "read", "reads", "memory", "disk", "network"],
        ["cp", "2.0", "MiB", "8", "4", "3", "1"],
        ["ffprobe", "1.0", "MiB", "4", "2", "0", "0"],
    ]


def test_of_a_mount_that_nobody_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """No division by nothing, no empty table."""
    idle = STATS | {"reads": usage(0, 0, 0, 0, 0, 0), "processes": {}, "disk": None}
    idle["passthrough"] = {"off": "there is no disk cache", "opens": 0, "files": 0}
    output = said(monkeypatch, idle | {"amplification": None, "fetched_bytes": 0})
    assert "0 B in 0 reads\n" in output
    assert "memory 0, disk 0, network 0\n" in output
    assert output.endswith("disk cache     none\npassthrough    off: there is no disk cache\n")


def test_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first dozen, and where the others are."""
    many = {f"p{n}": usage(20 - n, 1, 0, 1, 0, 0) for n in range(20)}
    output = said(monkeypatch, STATS | {"processes": many})
    assert "p11 " in output
    assert "p12 " not in output
    assert output.endswith("and 8 more: --json\n")


def test_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, on one line."""
    output = said(monkeypatch, STATS, "--json")
    assert json.loads(output) == STATS
    assert output.count("\n") == 1
