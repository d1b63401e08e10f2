# SPDX-License-Identifier: Apache-2.0
"""Events: all that the code logs is one, and docs/logs.md lists exactly those."""

from __future__ import annotations

import ast
import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.log import events
from backlotfs.log.events import EVENTS, Event
from tests.project.source_tree import PACKAGE, ROOT, parsed, source_files

TEXT = (ROOT / "docs" / "logs.md").read_text("utf-8")
ROWS = {
    name: (level, tuple(re.findall(r"`(\w+)`", fields)), when)
    for name, level, fields, when in re.findall(
        r"^\| `([a-z-]+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", TEXT, re.M
    )
}
#: What every line of JSON has; a traceback is called that wherever it comes from.
RESERVED = {"time", "level", "message", "logger", "event", "stack"}
#: These are not the mount: they print for the one who runs them.
ELSEWHERE = {"emulator", "demo"}
LOUD = {"info", "warning", "error", "exception", "critical", "log"}


def calls(path: Path) -> Iterator[ast.Call]:
    """Every call of a method in the file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def ours() -> list[Path]:
    """The modules whose lines go to a mount's log."""
    return [
        path
        for path in source_files("backlotfs")
        if path.relative_to(PACKAGE).parts[0] not in ELSEWHERE and path.name != "events.py"
    ]


@functools.cache
def used() -> dict[str, list[ast.Call]]:
    """Constants of `events`, with the calls that write them."""
    found: dict[str, list[ast.Call]] = {}
    for path in ours():
        for call in calls(path):
            target = call.func.value if isinstance(call.func, ast.Attribute) else None
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "events":
                found.setdefault(target.attr, []).append(call)
    return found


def constants() -> dict[str, Event]:
    """The events by the name of their constant."""
    return {name: value for name, value in vars(events).items() if isinstance(value, Event)}


def test_each_event_is_documented_as_it_is() -> None:
    """Name, level and fields, in the order of the code."""
    real = {
        event.name: (logging.getLevelName(event.level).lower(), event.fields)
        for event in EVENTS.values()
    }
    assert {name: row[:2] for name, row in ROWS.items()} == real
    assert list(ROWS) == list(real)
    assert not [name for name, row in ROWS.items() if len(row[2]) < 10]


def test_names_are_given_once() -> None:
    """Two events of one name would hide each other in the table."""
    assert len(EVENTS) == len(constants())


def test_all_that_is_loud_is_an_event() -> None:
    """A line above debug has a name and fields: no logger is called for it directly."""
    found = []
    for path in ours():
        for call in calls(path):
            assert isinstance(call.func, ast.Attribute)
            if call.func.attr in LOUD and ast.unparse(call.func.value) in ("log", "_log", "_LOG"):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


@pytest.mark.parametrize("constant", sorted(constants()))
def test_each_event_is_written_with_its_fields(constant: str) -> None:
    """Somewhere in the code, and never with another field than the table names."""
    event = constants()[constant]
    written = used().get(constant, [])
    assert written or constant in _by_hand(), f"nothing ever writes {event.name}"
    for call in written:
        fields = {word.arg for word in call.keywords} - {"at", "failure"}
        assert fields == set(event.fields), f"line {call.lineno}"


@functools.cache
def _by_hand() -> set[str]:
    """Events that are handed on to a function, which writes them."""
    found = set()
    for path in ours():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                for argument in node.args:
                    if isinstance(argument, ast.Attribute) and ast.unparse(argument.value) == (
                        "events"
                    ):
                        found.add(argument.attr)
    return found


def test_no_field_hides_one_that_every_line_has() -> None:
    """Fields stand beside time, level and message."""
    assert not [e.name for e in EVENTS.values() if set(e.fields) & RESERVED]
