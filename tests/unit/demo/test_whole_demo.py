# SPDX-License-Identifier: Apache-2.0
"""``backlotfs demo`` as it is run: the emulator, a kernel mount, every station, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backlotfs.demo.session import mounted_at_or_below

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(180)]

_TIMEOUT_S = 120


@contextmanager
def started_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo in a pipe, with its temporary files and its home in ``folder``; never left running."""
    with subprocess.Popen(
        [sys.executable, "-m", "backlotfs", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {name: str(folder) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def assert_nothing_left(folder: Path) -> None:
    """Neither a mount nor a file."""
    assert mounted_at_or_below(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.long
def test_it_ends_by_itself_in_a_pipe(tmp_path: Path) -> None:
    """All checksums equal, the URL renewed, and the temporary folder empty again."""
    with started_demo(tmp_path) as process:
        out, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, out + err
    assert "all equal" in out
    assert "got a new one" in out
    for command in ("getfattr", "backlotfs export", "backlotfs verify", "backlotfs status"):
        assert f"$ {command}" in out
    assert "/Festival/Interviews/interview.wav" in out
    assert "Three things to try" in out
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("line", "signum"),
    [
        ("$ backlotfs mount", signal.SIGTERM),
        ("$ backlotfs mount", signal.SIGINT),
        *(
            pytest.param(line, signum, marks=pytest.mark.long)
            for line, signum in (
                ("Sample media", signal.SIGINT),
                ("$ rsync", signal.SIGINT),
                ("$ cp", signal.SIGTERM),
                ("Now its beginning", signal.SIGINT),
                ("$ rsync", signal.SIGTERM),
                ("$ backlotfs umount", signal.SIGINT),
            )
        ),
    ],
)
def test_a_signal_cleans_up(tmp_path: Path, line: str, signum: signal.Signals) -> None:
    """As soon as it announces this: 130 or 143, no mount, no files, no traceback."""
    with started_demo(tmp_path) as process:
        assert process.stdout is not None
        seen = next((said for said in process.stdout if line in said), None)
        assert seen is not None, f"it never came to {line}"
        process.send_signal(signum)
        _, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 128 + signum, err
    assert "Traceback" not in err
    assert_nothing_left(tmp_path)
