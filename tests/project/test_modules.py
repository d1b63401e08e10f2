# SPDX-License-Identifier: Apache-2.0
"""Habits of the source files themselves."""

from __future__ import annotations

from tests.project.source_tree import PACKAGE, ROOT, source_files

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}


def test_modules_are_named_for_what_they_hold() -> None:
    """No module or folder is called utils, helpers or common."""
    named = [
        str(path.relative_to(ROOT))
        for path in source_files("backlotfs", "tests")
        if NAMES_THAT_SAY_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert named == []


def test_every_file_names_its_licence() -> None:
    """In the form that tools read, SPDX; files without any text need none."""
    silent = [
        str(path.relative_to(ROOT))
        for path in source_files("backlotfs", "tests", "benchmarks")
        if (text := path.read_text("utf-8")).strip()
        and not text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    ]
    assert silent == []


def test_the_types_are_shipped() -> None:
    """``py.typed`` is there, so users of the package get its annotations."""
    assert (PACKAGE / "py.typed").is_file()
