# SPDX-License-Identifier: Apache-2.0
"""Each promise of docs/semantics.md and row of docs/tests.md names tests, and each test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project.source_tree import ROOT, parsed

SEMANTICS, TESTS = ROOT / "docs" / "semantics.md", ROOT / "docs" / "tests.md"
#: The sections of docs/semantics.md whose lines need no test.
_UNTESTED = {"Principles", "What is not promised"}


def sections(document: Path) -> dict[str, str]:
    """Title to text."""
    parts = document.read_text("utf-8").split("\n## ")[1:]
    return {title: body for title, _, body in (part.partition("\n") for part in parts)}


def quoted(document: Path) -> list[tuple[str, str]]:
    """File and function of each test that is named."""
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text("utf-8"))))


@pytest.mark.parametrize(
    ("path", "name"),
    sorted({*quoted(SEMANTICS), *quoted(TESTS)}),
    ids="::".join,
)
def test_a_quoted_test_exists(path: str, name: str) -> None:
    """A test that is renamed takes its promise along."""
    tree = parsed(ROOT / path)
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_its_test() -> None:
    """In each section that has them: each line of a list or table."""
    promising = [body for title, body in sections(SEMANTICS).items() if title not in _UNTESTED]
    untested = []
    for body in (*promising, *sections(TESTS).values()):
        rows = [line for line in body.splitlines() if line.startswith("| ")][2:]
        items = re.findall(r"^- .*(?:\n  .*)*", body, re.M)
        untested += [one for one in rows + items if "::test_" not in one]
    assert not untested


def test_the_documents_promise_something() -> None:
    """The checks above have something to look at."""
    assert len(quoted(SEMANTICS)) > 30
    assert len(quoted(TESTS)) > 30
    assert set(sections(SEMANTICS)) >= _UNTESTED
