# SPDX-License-Identifier: Apache-2.0
"""What the tests start gets default signal handlers, however the tests themselves were started."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.commands import ROOT

_IGNORING = """
import signal, subprocess, sys
from tests.support.inherited_signals import give_children_default_signals
for number in map(int, sys.argv[2:]):
    signal.signal(number, signal.SIG_IGN)
if sys.argv[1] == "restored":
    give_children_default_signals()
for number in map(int, sys.argv[2:]):
    if number not in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)  # this process goes on ignoring it
subprocess.run(["grep", "^SigIgn", "/proc/self/status"], check=True)
"""
_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE)


@pytest.mark.parametrize(
    ("case", "still_ignored"),
    [("restored", set()), ("left alone", {*_SIGNALS} - {signal.SIGPIPE})],
)
def test_a_child_ignores_nothing(case: str, still_ignored: set[signal.Signals]) -> None:
    """SIGINT and SIGQUIT under ``make test &``, SIGHUP under ``nohup``; SIGPIPE in any case."""
    done = subprocess.run(
        [sys.executable, "-c", _IGNORING, case, *(str(int(number)) for number in _SIGNALS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mask = int(done.stdout.split()[1], 16)
    assert {number for number in _SIGNALS if mask >> (number - 1) & 1} == still_ignored


def test_this_process_ignores_nothing_that_its_children_would() -> None:
    """Here, in a worker too."""
    mask = subprocess.run(
        ["grep", "^SigIgn", "/proc/self/status"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    assert int(mask, 16) & sum(1 << (number - 1) for number in _SIGNALS) == 0
