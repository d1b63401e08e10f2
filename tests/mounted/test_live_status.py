# SPDX-License-Identifier: Apache-2.0
"""``status --watch`` on a terminal: a real mount, a real ``cp``, a real pty."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.watching_terminal import BEGUN, ENDED, HIDDEN, SEQUENCE, SHOWN, watching

pytestmark = pytest.mark.mounted

ASSETS = [video("reel.mov", 9 * MIB), video("long.mxf", 2048 * MIB)]


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The origin, with a budget so that credits can be told."""
    return serve(*ASSETS, rate_limit=300)


@pytest.fixture
def mount(emulator: Emulator, tmp_path: Path) -> Iterator[Mount]:
    """A mount on which a copy takes minutes."""
    with Mount(emulator, tmp_path, "--bwlimit=8M", "--cache-size=0") as mount:
        for asset in ASSETS:
            mount.file_of(asset).stat()
        yield mount


def test_a_copy(mount: Mount) -> None:
    """Who reads, how fast, from where; it fits, also after a resize; Ctrl-C ends it cleanly."""
    with watching(mount, COLUMNS="70", LINES="20") as terminal:  # some shells export these
        copying = subprocess.Popen(["cp", mount / "long.mxf", mount.folder / "copy"])
        try:
            terminal.wait_for("readers        cp ")
            terminal.wait_for("█")
            wait_until(
                lambda: any(re.match(r"readers +cp [1-9]", line) for line in terminal.picture),
                "the rate of cp",
            )
            lines = terminal.picture
            assert lines[0].startswith(f"backlot:{commands.PROFILE} on {mount.path}"[:70])
            assert any(re.match(r"blocks now +memory \d+ %", line) for line in lines)
            assert any(re.match(r"API credits +\d+ of (299|300) left", line) for line in lines)
            assert any(line.startswith("next files ") for line in lines)
            assert len(lines) <= 24
            assert max(map(len, lines)) <= 80
            terminal.resize(50, 12)
            wait_until(lambda: max(map(len, terminal.picture)) == 50, "the smaller picture")
            assert len(terminal.picture) <= 12
            terminal.resize(120, 50)
            wait_until(lambda: max(map(len, terminal.picture)) == 120, "the larger picture")
        finally:
            copying.kill()
            copying.wait()
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == 130
    assert terminal.written.count(BEGUN) == terminal.written.count(ENDED) == 1
    assert terminal.written.rindex(SHOWN) > terminal.written.rindex(HIDDEN)
    assert "\x1b[1;36m" in terminal.written
    assert "Traceback" not in terminal.written


@pytest.mark.long
def test_without_colours(mount: Mount) -> None:
    """Where they are not wanted; the rest is the same. SIGTERM ends it as cleanly."""
    with watching(mount, NO_COLOR="1") as terminal:
        terminal.wait_for("API credits")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(20) == -signal.SIGTERM
    assert not re.search(r"\x1b\[[\d;]*3\dm", terminal.written)
    assert terminal.written.rindex(ENDED) > terminal.written.rindex(BEGUN)


@pytest.mark.long
def test_a_terminal_that_draws_nothing(mount: Mount) -> None:
    """Gets a line each second."""
    with watching(mount, TERM="dumb") as terminal:
        wait_until(lambda: terminal.written.count("credits left") >= 2, "two lines")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == 130
    assert "\x1b" not in terminal.written


def test_stopped_and_continued(mount: Mount) -> None:
    """Ctrl-Z gives the terminal back to the shell; `fg` draws again."""
    with watching(mount) as terminal:
        terminal.wait_for("API credits")
        terminal.process.send_signal(signal.SIGTSTP)
        wait_until(lambda: terminal.written.endswith(ENDED), "the shell's screen")
        stat = Path(f"/proc/{terminal.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the stop")
        terminal.process.send_signal(signal.SIGCONT)
        wait_until(lambda: terminal.written.count(BEGUN) == 2, "the picture again")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == 130


def test_where_no_shell_could_continue_it(mount: Mount) -> None:
    """Ctrl-Z draws anew, and nothing stops for good: as in ``ssh -t host backlotfs ...``."""
    with watching(mount, orphaned=True) as terminal:
        terminal.wait_for("API credits")
        terminal.process.send_signal(signal.SIGTSTP)
        wait_until(lambda: terminal.written.count(BEGUN) == 2, "the picture again")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == 130


@pytest.mark.parametrize("number", few_of([signal.SIGTERM, signal.SIGQUIT], signal.SIGTERM))
def test_signals_that_end_it(mount: Mount, number: signal.Signals) -> None:
    """The user's own screen and the cursor come back; the signal is what it ended by."""
    with watching(mount) as terminal:
        terminal.wait_for("API credits")
        resource.prlimit(terminal.process.pid, resource.RLIMIT_CORE, (0, 0))
        terminal.process.send_signal(number)
        assert terminal.process.wait(20) == -number
    assert terminal.written.rindex(ENDED) > terminal.written.rindex(BEGUN)
    assert terminal.written.rindex(SHOWN) > terminal.written.rindex(HIDDEN)


def test_the_mount_ends(mount: Mount) -> None:
    """One line on the user's own screen says so."""
    with watching(mount) as terminal:
        terminal.wait_for("API credits")
        mount.close()
        assert terminal.process.wait(30) == 1
    _, said = terminal.written.rsplit(ENDED, 1)
    assert SEQUENCE.sub("", said).strip() == (
        f"backlotfs: the mount on {mount.path} has ended; see its log"
    )


@pytest.mark.long
def test_a_mount_that_hangs(mount: Mount) -> None:
    """Is said; the screen lives on, and the command can be ended."""
    with watching(mount) as terminal:
        terminal.wait_for("API credits")
        mount.process.send_signal(signal.SIGSTOP)
        try:
            terminal.wait_for("no answer for ")
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.process.wait(20) == 130
        finally:
            mount.process.send_signal(signal.SIGCONT)
