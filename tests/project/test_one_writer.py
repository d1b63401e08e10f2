# SPDX-License-Identifier: Apache-2.0
"""Commands write by `log.terminal` alone: no text of others reaches a terminal as it is."""

from __future__ import annotations

import ast

import pytest

from tests.project.source_tree import ROOT, source_files

#: Why these write by themselves.
_EXCEPTIONS = {
    "backlotfs/cli/__init__.py": "a script of click's, for a shell",
    "backlotfs/cli/doctor.py": "one coloured word before an escaped text",
}
_WRITERS = frozenset({"echo", "secho", "print", "dumps"})


def writers(source: str) -> list[str]:
    """Calls that write to a terminal, or make JSON, by name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else None
            name = function.id if isinstance(function, ast.Name) else name
            on_a_bar = isinstance(function, ast.Attribute) and "console" in ast.dump(function.value)
            if name in _WRITERS and not on_a_bar:
                found.append(str(name))
    return found


@pytest.mark.parametrize("path", [str(p.relative_to(ROOT)) for p in source_files("backlotfs/cli")])
def test_a_command_writes_by_the_one_writer(path: str) -> None:
    """Bars are rich's own, and are given escaped texts."""
    if path not in _EXCEPTIONS:
        assert writers((ROOT / path).read_text("utf-8")) == []


def test_a_writer_is_seen() -> None:
    """The rule itself can fail."""
    assert writers("import click\nclick.echo('x')\nprint(1)\n") == ["echo", "print"]
