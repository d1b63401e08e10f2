# SPDX-License-Identifier: Apache-2.0
"""The log of real mounts: an event for all that matters, and every line a program can read."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.kernel.mount_table import mount_at
from backlotfs.log.events import EVENTS
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, current
from tests.support.made_assets import MIB, video
from tests.support.mount_log import parse_json, parse_log
from tests.support.mounting import END_S, START_S, Mount, detach, is_mounted
from tests.support.outage import take_down

pytestmark = pytest.mark.mounted

REEL, BAD = video("reel.mov", 3 * MIB), video("bad.mov", 2 * MIB)
#: Ample: a slow machine writes its line later.
SOON_S = 30.0


class Story:
    """A mount with a JSON log, to which things happen.

    :ivar lines: of the whole log; once `end` was called.
    """

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.mount = Mount(emulator, folder, "--log-format", "json", "--memory", "4M")
        self.mount.expect_log("operation-failed|refresh-failed")
        self.lines: list[dict[str, Any]] = []

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event so far; whole ones only."""
        whole, _, _ = self.mount.log_text().rpartition("\n")
        return [line for line in parse_json(whole) if line.get("event") == event]

    def wait_for(self, event: str, number: int = 1) -> dict[str, Any]:
        """The ``number``-th line of this event, once it is there."""
        wait_until(lambda: len(self.said(event)) >= number, f"a line {event}", timeout_s=SOON_S)
        return self.said(event)[number - 1]

    def signal(self, number: signal.Signals, then: str, times: int = 1) -> None:
        """Send it, and wait for the line that it makes."""
        self.mount.process.send_signal(number)
        self.wait_for(then, times)

    def tell(self) -> None:
        """Everything that can be made to happen in a few seconds."""
        mount, emulator = self.mount, self.emulator
        assert_same_bytes(mount.file_of(REEL), REEL)
        mount.file_of(BAD).stat()
        emulator.expire_urls()
        denied = Fault.of("access_denied")
        rule = emulator.faults.add(denied, route="source", embed_code=BAD.embed_code)
        with pytest.raises(OSError, match="denied"):
            mount.file_of(BAD).read_bytes()
        emulator.faults.remove(rule)
        assert_same_bytes(mount.file_of(BAD), BAD)
        emulator.library.add(video("uploaded.mov", 5000))
        self.signal(signal.SIGHUP, "refreshed")
        self.signal(signal.SIGUSR1, "state")
        for times in (1, 2):
            self.signal(signal.SIGUSR2, "verbosity", times)
        take_down(emulator)
        self.signal(signal.SIGHUP, "refresh-failed")
        mount.close()
        self.lines = parse_json(mount.log_text())


@pytest.fixture(scope="module")
def story(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Told to its end."""
    story = Story(serve(REEL, BAD), tmp_path_factory.mktemp("story"))
    with story.mount:
        story.tell()
    return story


def test_every_line_is_json_with_the_documented_fields(story: Story) -> None:
    """What every line has, and for an event just its own; levels as they are documented."""
    assert len(story.lines) > 20
    for line in story.lines:
        assert {"time", "level", "message", "logger"} <= set(line)
        if "event" not in line:
            assert line["level"] == "debug", line
            continue
        own = set(line) - {"time", "level", "message", "logger", "event", "traceback"}
        assert own == set(EVENTS[line["event"]].fields)


def test_the_times_are_in_order(story: Story) -> None:
    """UTC, so that they compare as text."""
    times = [line["time"] for line in story.lines]
    assert all(time.endswith("Z") for time in times)
    assert times[0] <= times[-1]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("listing", {"source": "backlot:test"}),
        ("listed", {"new": 2, "changed": 0, "removed": 0}),
        ("mounted", {"source": "backlot:test", "assets": 2}),
        ("signal", {"signal": "SIGHUP"}),
        ("refreshed", {"new": 1}),
        ("operation-failed", {"operation": "read", "errno": "EACCES"}),
        ("state", {"assets": 3}),
        ("stack", {"threads": ["signals"]}),
        ("verbosity", {"now": "debug", "was": "info"}),
        ("refresh-failed", {}),
        ("urls", {}),
        ("unmounted", {}),
    ],
)
def test_events(story: Story, event: str, fields: dict[str, object]) -> None:
    """Each has happened, and says what it was."""
    found = [line for line in story.lines if line.get("event") == event]
    assert any(fields.items() <= line.items() for line in found), found


def test_the_sums_at_the_end(story: Story) -> None:
    """What was read and what for it was fetched; URLs that were refused are told by numbers."""
    by_event = {line.get("event"): line for line in story.lines}
    unmounted = by_event["unmounted"]
    assert unmounted["mountpoint"] == str(story.mount.path)
    assert unmounted["read_bytes"] >= 5 * MIB
    assert unmounted["fetched_bytes"] >= 5 * MIB
    assert by_event["urls"]["refused"] >= 1


def test_the_state_is_whole(story: Story) -> None:
    """What `status` and `stats` say, and where each thread is."""
    (state,) = [line for line in story.lines if line.get("event") == "state"]
    assert state["details"]["status"]["mountpoint"] == str(story.mount.path)
    assert state["details"]["stats"]["fetched_bytes"] > 0
    stacks = [line for line in story.lines if line.get("event") == "stack"]
    assert sum(len(line["threads"]) for line in stacks) == state["threads"]
    frames = {name: line["frames"] for line in stacks for name in line["threads"]}
    assert "mount/status.py" in frames["signals"]
    assert "mount/serve.py" in frames["MainThread"]


def test_debug_was_on_only_between_the_two_signals(story: Story) -> None:
    """SIGUSR2 and SIGUSR2: louder, and back."""
    turns = [at for at, line in enumerate(story.lines) if line.get("event") == "verbosity"]
    debug = [at for at, line in enumerate(story.lines) if line["level"] == "debug"]
    assert [story.lines[at]["now"] for at in turns] == ["debug", "info"]
    # the line itself is written at the loudest: those of other threads beside it may slip in
    assert all(turns[0] - 20 <= at <= turns[1] + 20 for at in debug)


def test_a_replaced_source(serve: Serve, tmp_path: Path) -> None:
    """In text: found by a refresh, said once, with its new size."""
    emulator = serve(REEL)
    with Mount(emulator, tmp_path) as mount:
        assert_same_bytes(mount.file_of(REEL), REEL)
        emulator.library.replace(REEL.embed_code, size=5 * MIB)
        mount.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: (
                f"the source of {REEL.embed_code} was replaced; it has {5 * MIB} bytes now"
                in mount.log_text()
            ),
            "the replaced source",
            timeout_s=SOON_S,
        )
        assert_same_bytes(mount.file_of(REEL), current(emulator, REEL))
    assert mount.log_text().count("was replaced") == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_in_the_journal(serve: Serve, tmp_path: Path, log_format: str) -> None:
    """A priority in front, no time where the journal has one, and the end is told like the rest."""
    log = tmp_path / "journal"
    log.touch()
    config = commands.write_config(tmp_path / "config.toml", serve(REEL), api_secret="s" * 40)
    (tmp_path / "library").mkdir()
    status = log.stat()
    with log.open("w") as journal:
        process = commands.start(
            *("mount", "-f", "--config", config, "--log-format", log_format, tmp_path / "library"),
            home=tmp_path,
            log=journal,
            extra={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        )
        assert process.wait(START_S) == 3
    lines = log.read_text().splitlines()
    assert lines[-1].startswith("<3>")
    assert "exit code 3" in lines[-1]
    assert all(line[:3] in ("<6>", "<3>") for line in lines)
    if log_format == "json":
        assert parse_json("\n".join(line[3:] for line in lines))[-1]["exit_code"] == 3
    else:
        assert [record.level for record in parse_log(log.read_text())][-1] == "ERROR"


@pytest.fixture
def background(serve: Serve, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts in the background, and gives the log."""
    mountpoint = tmp_path / "library"
    mountpoint.mkdir()
    config = commands.write_config(tmp_path / "config.toml", serve(REEL))

    def start(*options: str) -> Path:
        log = tmp_path / "mount.log"
        place = ("--config", config, "--log-file", log)
        done = commands.run("mount", *place, *options, mountpoint, home=tmp_path)
        assert done.returncode == 0, done.stderr
        return log

    yield start
    commands.run("umount", mountpoint, home=tmp_path)
    detach(mountpoint)


@pytest.mark.long
def test_a_background_mounts_state_is_in_its_log(
    background: Callable[..., Path], tmp_path: Path
) -> None:
    """It has no stderr; the stacks of its threads are in the file, and no secret is."""
    log = background("--log-format=json")
    mountpoint = tmp_path / "library"
    assert_same_bytes(mountpoint / "reel.mov", REEL)
    with (mountpoint / "reel.mov").open("rb"):
        os.kill(pid_of(tmp_path), signal.SIGUSR1)
        wait_until(lambda: '"event": "state"' in log.read_text(), "the state", timeout_s=SOON_S)
    lines = parse_json(log.read_text().rpartition("\n")[0])
    assert {"listed", "mounted", "signal", "stack", "state"} <= {line["event"] for line in lines}
    (state,) = [line for line in lines if line["event"] == "state"]
    assert state["open_files"] == 1
    assert state["details"]["open"] == ["reel.mov"]
    secret = (tmp_path / "config.toml").read_text().partition('api_secret = "')[2].split('"')[0]
    assert len(secret) > 20
    assert secret not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert mount_at(mountpoint) is not None


def test_a_background_mounts_end_is_in_its_log(
    background: Callable[..., Path], tmp_path: Path
) -> None:
    """The last line of a mount that was unmounted from outside."""
    log = background()
    done = commands.run("umount", tmp_path / "library", home=tmp_path)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: " unmounted " in log.read_text(), "the end", timeout_s=END_S)
    assert not is_mounted(tmp_path / "library")


def pid_of(home: Path) -> int:
    """As ``status --json`` gives it."""
    done = commands.run("status", "--json", home / "library", home=home)
    return int(json.loads(done.stdout)["pid"])
