"""A listing has its turn beside programs that wait; a timeout that was asked for counts the wait."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import status, uploaded
from tests.mounted.credits.spent import (
    ASSETS,
    AT_ONCE_S,
    name_of,
    program,
    unsized,
    waiting_program,
)
from tests.support.deadlines import wait_until
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted


def unknown(mount: Mount, number: int = -1) -> Path:
    """A file whose size is not known, one of the last."""
    return mount / name_of(unsized(mount.emulator)[number])


def took_s(*command: str | Path) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run a program: how long it takes, and how it ended."""
    began_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return time.monotonic() - began_s, done


def test_an_upload_is_seen_while_others_wait(serve: Serve, mounted: MountIt) -> None:
    """A listing takes its turn, though programs wait all the time; the log has a line a minute."""
    many = [*ASSETS, *(uploaded(f"more-{number:03d}.mov", 1000 + number) for number in range(400))]
    emulator = serve(*many, rate_limit=300, rate_window_s=10.0)
    mount = mounted(emulator, "--cache-size=0", "--metadata-ttl=1s")
    waiting = waiting_program(mount, "ls", "-l", mount.path)
    time.sleep(1.1)  # an upload's time is in whole seconds
    emulator.library.add(uploaded("new.mov"))
    wait_until(lambda: "new.mov" in os.listdir(mount.path), "the upload to be listed", every_s=0.2)
    assert waiting.poll() is None, "it became visible while the other program still waits"
    output, errors = waiting.communicate(timeout=90)
    assert (waiting.returncode, errors) == (0, "")
    assert len(output.splitlines()) >= len(many)
    assert ended_requests(emulator, status=429) == []
    assert mount.log_text().count("wait for API credits") <= 2


def test_a_timeout_that_was_asked_for_counts_the_wait(serve: Serve, mounted: MountIt) -> None:
    """``--stat-timeout`` and ``--read-timeout`` are over in the middle of a wait for a credit."""
    options = ("--cache-size=0", "--stat-timeout=1s", "--read-timeout=2s")
    mount = mounted(serve(*ASSETS, rate_limit=300), *options)
    mount.expect_log("timed out|gave up|takes too long|ETIMEDOUT|in 1 s|in 2 s")
    _spent_by_names(mount)
    for number in (-1, -2, -3, -4):
        seconds, done = took_s("stat", unknown(mount, number))
        assert os.strerror(errno.ETIMEDOUT) in done.stderr
        assert 1 <= seconds < 1 + AT_ONCE_S


def _spent_by_names(mount: Mount) -> None:
    """Have the share of the window used up, whatever becomes of the program that does it."""
    process = program("ls", "-l", mount.path)
    wait_until(lambda: status(mount)["credits"]["more_in_s"] is not None, "the credits to be spent")
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate(timeout=60)
