# SPDX-License-Identifier: Apache-2.0
"""Usual misspellings in what users read, by codespell."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project.source_tree import ROOT

#: SQL's ``iif``, and parts of words in patterns.
_NOT_WRONG = "iif,ned,ond"


@pytest.mark.long
def test_nothing_is_misspelled() -> None:
    """In the documents, the messages and the comments."""
    places = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "backlotfs")
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "-L", _NOT_WRONG, "-S", "*.svg,*.png", *places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
