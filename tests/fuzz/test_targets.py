# SPDX-License-Identifier: Apache-2.0
"""Each fuzz target, for as long as a test may take."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import main
from tests.fuzz.targets import LONG_PAGES, TARGETS
from tests.project.source_tree import ROOT
from tests.support.long_runs import runs


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"long page"}))
@settings(max_examples=runs(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_target(name: str, data: Any) -> None:
    """A record or one of our errors, whatever comes."""
    target = TARGETS[name]
    target.run(data.draw(target.inputs))


@pytest.mark.long
@pytest.mark.parametrize("page", LONG_PAGES)
def test_long_pages(page: tuple[bytes, int]) -> None:
    """Each once, since there are only so many and they take long."""
    TARGETS["long page"].run(page)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on until its time is spent, and counts."""
    assert main(["--unbounded", "--seconds", "0", "--target", "xml"]) == 0
    assert "xml" in capsys.readouterr().out


def test_memory_is_limited() -> None:
    """A target that takes more than its room has broken; in a process of its own, which it ends."""
    script = (
        "import sys, tests.fuzz.__main__ as fuzz; from hypothesis import strategies as st;"
        "fuzz.TARGETS['xml'] = fuzz.TARGETS['xml']._replace("
        "inputs=st.just(1), run=lambda _: bytes(2 * fuzz.ROOM_BYTES));"
        "sys.exit(fuzz.main(['--seconds', '0', '--target', 'xml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, timeout=100, cwd=ROOT
    )
    assert done.returncode == 1, done.stderr
    assert b"MemoryError" in done.stdout


def test_the_command_shows_what_broke(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest input that does, and exit code 1."""

    def fail(found: str) -> None:
        assert "7" not in found

    monkeypatch.setitem(TARGETS, "xml", TARGETS["xml"]._replace(inputs=st.just("x7"), run=fail))
    assert main(["--unbounded", "--seconds", "0", "--target", "xml"]) == 1
    assert "'x7'" in capsys.readouterr().out
