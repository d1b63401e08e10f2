"""Habits of the source files themselves."""

from __future__ import annotations

import ast

from tests.project.source_tree import PACKAGE, ROOT, parsed, source_files

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}


def test_modules_are_named_for_what_they_hold() -> None:
    """No module or folder is called utils, helpers or common."""
    named = [
        str(path.relative_to(ROOT))
        for path in source_files("backlotfs", "tests")
        if NAMES_THAT_SAY_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert named == []


def test_modules_say_what_they_are() -> None:
    """Every module with code in it begins with a docstring."""
    silent = []
    for path in source_files("backlotfs", "tests"):
        tree = parsed(path)
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_the_types_are_shipped() -> None:
    """``py.typed`` is there, so users of the package get its annotations."""
    assert (PACKAGE / "py.typed").is_file()
