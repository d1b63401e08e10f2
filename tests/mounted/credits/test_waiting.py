"""Programs that wait for an API credit: what they do not stop, and what ends them at once."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import status, uploaded
from tests.mounted.credits.spent import (
    ASSETS,
    AT_ONCE_S,
    is_waiting,
    name_of,
    program,
    spend,
    unsized,
    waiting_program,
)
from tests.support.deadlines import wait_until
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

#: A killed or interrupted program ends within a second; more for a busy machine.
ENDS_S = 5.0


@pytest.fixture
def mount(serve: Serve, mounted: MountIt) -> Mount:
    """All credits of the minute are spent."""
    found = mounted(serve(*ASSETS, rate_limit=300), "--cache-size=0")
    spend(found)
    return found


def unknown(mount: Mount, number: int = -1) -> Path:
    """A file whose size is not known, one of the last."""
    return mount / name_of(unsized(mount.emulator)[number])


def took_s(*command: str | Path) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run a program: how long it takes, and how it ended."""
    began_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return time.monotonic() - began_s, done


def test_who_waits_stops_nobody(mount: Mount) -> None:
    """Names are listed, known files are read, and a ``touch`` in the folder is refused at once."""
    waiting = [waiting_program(mount, "stat", unknown(mount, -n)) for n in (1, 2)]
    sized = {entry.embed_code for entry in ended_requests(mount.emulator, route="source")}
    known = next(asset for asset in ASSETS if asset.embed_code in sized)
    for command in (("ls", "-U", mount.path), ("wc", "-c", mount.file_of(known))):
        seconds, done = took_s(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert seconds < AT_ONCE_S
    for path in (mount / "new.mov", unknown(mount), mount.file_of(known)):
        seconds, done = took_s("touch", path)
        assert "Read-only file system" in done.stderr
        assert seconds < AT_ONCE_S
    assert all(is_waiting(mount, process) for process in waiting)
    for process in waiting:
        process.kill()
        process.communicate(timeout=60)


def test_killed_programs_end_at_once(mount: Mount) -> None:
    """The first that asked for a name and the second, in either order; others wait on."""
    path = unknown(mount)
    first, second, third = (waiting_program(mount, "stat", path) for _ in range(3))
    for process in (first, second):
        process.kill()
        process.communicate(timeout=ENDS_S)
        assert process.returncode == -signal.SIGKILL
    assert is_waiting(mount, third)
    third.kill()
    third.communicate(timeout=ENDS_S)
    wait_until(lambda: status(mount)["waiting"] == [], "nobody to be told as waiting")


@pytest.mark.parametrize("words", ["ls -l {mount}", "cp -r {mount} {to}", "rsync -a {mount} {to}"])
def test_control_c_ends_a_wait(mount: Mount, tmp_path: Path, words: str) -> None:
    """SIGINT, as a terminal sends it to the whole job."""
    command = words.format(mount=mount.path, to=tmp_path / "copy").split()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: any(status(mount)["waiting"]), "it to wait", timeout_s=30)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=ENDS_S)
    assert process.returncode != 0


def test_the_end_of_the_mount_ends_all_waits(mount: Mount) -> None:
    """SIGTERM: those who wait are told, and the mount is gone long before the window ends."""
    mount.expect_log("cut off|still open|ended")
    path = unknown(mount)
    waiting = [
        waiting_program(mount, *command)
        for command in (("stat", path), ("cat", unknown(mount, -2)), ("ls", "-l", mount.path))
    ]
    assert mount.terminate() == 0
    for process in waiting:
        process.communicate(timeout=ENDS_S)
        assert process.returncode != 0


def test_status_tells_who_waits(mount: Mount) -> None:
    """Program, file, what for and how long, for programs and for people."""
    path = unknown(mount)
    waiting = waiting_program(mount, "stat", path)
    said = status(mount)
    (entry,) = said["waiting"]
    assert (entry["pid"], entry["program"]) == (waiting.pid, "stat")
    assert (entry["file"], entry["for"]) == (path.name, "size")
    assert 0 < entry["seconds"] <= 62
    credits = said["credits"]
    assert credits["waiting"] == [0, 0, 0, 0], "its turn is not taken yet: the scheduler holds it"
    assert 0 < credits["more_in_s"] <= 62
    assert credits["credits_left"] >= 60, "a fifth is left for other tools"
    assert 0 < said["sizes"]["seconds_left"] <= 62
    text = subprocess.run(
        [sys.executable, "-m", "backlotfs", "status", mount.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"stat (pid {waiting.pid}) for the size of {path.name}" in text
    assert " of 300, more in " in text
    waiting.kill()
    waiting.communicate(timeout=60)


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


def test_no_credit_within_the_longest_wait(serve: Serve, mounted: MountIt) -> None:
    """ETIMEDOUT after ``--credit-wait``, and not before."""
    mount = mounted(serve(*ASSETS, rate_limit=300), "--cache-size=0", "--credit-wait=2s")
    mount.expect_log("no API credit came|ETIMEDOUT")
    _spent_by_names(mount)
    path = unknown(mount)
    for command in (("stat", path), ("cat", path)):
        seconds, done = took_s(*command)
        assert os.strerror(errno.ETIMEDOUT) in done.stderr
        assert 2 <= seconds < 2 + AT_ONCE_S


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
