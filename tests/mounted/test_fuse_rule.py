# SPDX-License-Identifier: Apache-2.0
"""A machine that cannot mount: the mounted tests fail by name, unless somebody opted out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.commands import ROOT
from tests.support.fuse_presence import OPT_OUT, missing_piece


def outcome(**environment: str) -> tuple[int, str]:
    """Exit code and output of one mounted test's run, on a PATH where nothing is found."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "access and session"),
            "tests/mounted/test_read_only.py",
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": "/nonexistent", OPT_OUT: "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_missing_piece_fails_and_is_named() -> None:
    """No fusermount: the run fails, and says what to install."""
    code, output = outcome()
    assert code == 1
    assert "is missing (apt-get install" in output
    assert "1 error" in output or "1 failed" in output


def test_opting_out_skips_with_the_same_words() -> None:
    """BACKLOTFS_NO_FUSE=1: skipped, and the report says why."""
    code, output = outcome(**{OPT_OUT: "1"})
    assert code == 0
    assert "1 skipped" in output
    assert "is missing (apt-get install" in output


@pytest.mark.mounted
def test_nothing_is_missing_where_mounted_tests_run() -> None:
    """What runs here was not let through by mistake."""
    assert missing_piece() is None
