"""Every promise of docs/semantics.md names a test, and each of those exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.project.source_tree import ROOT

TEXT = (ROOT / "docs" / "semantics.md").read_text("utf-8")
QUOTED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
_UNTESTED = "What is not promised"


@pytest.mark.parametrize(("path", "name"), QUOTED, ids="::".join)
def test_a_quoted_test_exists(path: str, name: str) -> None:
    """A test that is renamed takes its promise along."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_its_test() -> None:
    """In each section but the tenets and what is not promised: each line of a list or table."""
    untested = []
    for section in TEXT.split("\n## ")[2:]:
        title, _, body = section.partition("\n")
        if title == _UNTESTED:
            continue
        rows = [line for line in body.splitlines() if line.startswith("| ")][2:]
        items = re.findall(r"^- .*(?:\n  .*)*", body, re.M)
        untested += [one for one in rows + items if "::test_" not in one]
    assert not untested


def test_the_document_promises_something() -> None:
    """The checks above have something to look at."""
    assert len(QUOTED) > 30
    assert _UNTESTED in TEXT
