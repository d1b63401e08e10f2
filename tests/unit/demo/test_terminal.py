# SPDX-License-Identifier: Apache-2.0
"""A signal ends the demo at once, except where something is being acquired or cleaned up."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from backlotfs.demo.terminal import Interruption, Stopped, megabytes, rate, run

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_is_raised_once(signum: signal.Signals) -> None:
    """The second finds the clean-up going on, and leaves it alone."""
    with Interruption() as interruption:
        with pytest.raises(Stopped):
            signal.raise_signal(signum)
        signal.raise_signal(signum)
        assert interruption.exit_code == 128 + signum


def test_a_hold_puts_it_off() -> None:
    """What the block acquires is known before the clean-up begins."""
    acquired = []

    def acquire(interruption: Interruption) -> None:
        with interruption.hold():
            with interruption.hold():
                signal.raise_signal(signal.SIGTERM)
            acquired.append("all of it")

    with Interruption() as interruption, pytest.raises(Stopped):
        acquire(interruption)
    assert acquired == ["all of it"]


def test_nothing_cuts_the_clean_up_short() -> None:
    """Held for good, a signal is only remembered for the exit status."""
    with Interruption() as interruption:
        interruption.hold_for_good()
        signal.raise_signal(signal.SIGINT)
    assert interruption.exit_code == 130


def test_the_handlers_are_put_back() -> None:
    """A caller's own Ctrl-C works again afterwards."""
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with Interruption():
        assert [signal.getsignal(signum) for signum in SIGNALS] != before
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


def test_nohup_is_respected() -> None:
    """A closed terminal that is to be survived is."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert interruption.exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_program_ends_with_the_demo(tmp_path: Path) -> None:
    """A signal during a long command ends the command too, and well before its time."""
    # the child itself interrupts us, so it is known to run
    script = "kill -TERM $PPID; exec sleep 60"
    started_s = time.monotonic()
    with Interruption() as interruption, pytest.raises(Stopped):
        run(["sh", "-c", script], interruption)
    assert time.monotonic() - started_s < 30


def test_a_program_gets_no_real_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's own settings must not turn the demo to their library."""
    monkeypatch.setenv("BACKLOT_API_SECRET", "real")
    with Interruption() as interruption:
        finished = run(["env"], interruption)
    assert finished.status == 0
    assert "BACKLOT_" not in finished.output


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """Nothing of it goes on."""
    pid = tmp_path / "pid"
    with Interruption() as interruption, pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", f"echo $$ >{pid}; exec sleep 60"], interruption, timeout_s=1)
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_numbers_are_for_people() -> None:
    """Decimal units, as disks and networks are sold."""
    assert megabytes(134_217_728) == "134.2 MB"
    assert megabytes(10**11) == "100.0 GB"
    assert rate(10_000_000, 0.5) == "10.0 MB in 0.50 s (20 MB/s)"
