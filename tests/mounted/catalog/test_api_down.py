# SPDX-License-Identifier: Apache-2.0
"""The API cannot be reached, or refuses us: what is saved is shown, and marked as stale."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from backlotfs.emulator import Fault
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    api_calls,
    ask_for_refresh,
    shown,
    status,
)
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import video
from tests.support.mounting import Mount, is_mounted
from tests.support.outage import take_down

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{n}.mov", 5000 + n) for n in range(8)]
#: What may stand in the log when the API is not what it should be.
COMPLAINT = r"STALE|could not be refreshed"


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    return keep(*ASSETS)


def test_a_mount_while_it_is_down(kept: KeptLibrary) -> None:
    """Refused: mounted all the same, everything as before; log and status say why it is stale.

    Once the API is back, a sync brings what is new, and status is content.
    """
    before = kept.fill()
    take_down(kept.emulator)
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    assert shown(mount) == before
    assert os.statvfs(mount.path).f_files == len(ASSETS)
    wait_until(
        lambda: "the mount shows the last listing, which is STALE" in mount.log_text(),
        "the log to say so",
    )
    assert status(mount)["stale"]
    text = commands.run("status", mount.path, home=mount.folder).stdout
    assert "STALE" in text
    assert "last error" in text
    assert kept.emulator.api_url.removeprefix("http://") in text
    assert shown(mount) == before
    kept.restart()
    kept.refresh(mount)
    assert shown(mount) == before
    assert (status(mount)["stale"], status(mount)["last_error"]) == (False, None)
    assert "STALE" not in commands.run("status", mount.path, home=mount.folder).stdout


def failing(kept: KeptLibrary) -> None:
    """The gateway has lost its server."""
    kept.emulator.faults.add(Fault.status(502, "<html>Bad Gateway</html>"))


def speechless(kept: KeptLibrary) -> None:
    """Connections are accepted, and nothing is ever answered."""
    kept.emulator.faults.add(Fault.delay(600))


def stopped(kept: KeptLibrary) -> None:
    """Nobody listens: connections are refused."""
    take_down(kept.emulator)


@pytest.mark.parametrize("down", few_of([failing, speechless, stopped], speechless))
def test_it_can_be_unmounted_meanwhile(
    kept: KeptLibrary, down: Callable[[KeptLibrary], None]
) -> None:
    """Listed, and ended at once with exit code 0, whatever the look at the API waits for."""
    before = kept.fill()
    down(kept)
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    assert shown(mount) == before
    assert mount.terminate() == 0


def test_it_goes_away_while_mounted(kept: KeptLibrary) -> None:
    """Listing, stat and the bytes that were read already are still there; a sync says STALE."""
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    before = shown(mount)
    assert_same_bytes(mount.file_of(ASSETS[0]), ASSETS[0])
    assert not status(mount)["stale"]
    take_down(kept.emulator)
    mount.process.send_signal(signal.SIGHUP)
    wait_until(lambda: bool(status(mount)["stale"]), "status to say so")
    assert shown(mount) == before
    assert_same_bytes(mount.file_of(ASSETS[0]), ASSETS[0])


def test_a_failed_sync_changes_nothing(keep: Keep) -> None:
    """Page 2 of a full walk fails: what page 1 brought and lost is not shown, until it succeeds."""
    kept = keep(*ASSETS, page_cap=4)
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    before = shown(mount)
    library = kept.emulator.library
    new = library.add(video("new.mov", created_at=int(time.time())))
    library.delete(ASSETS[0].embed_code)
    kept.emulator.faults.add(Fault.status(400), route="assets", skip=1, times=1)
    ask_for_refresh(mount, full=True)
    wait_until(lambda: bool(status(mount)["stale"]), "the sync to fail")
    assert shown(mount) == before
    ask_for_refresh(mount)
    wait_until(lambda: not status(mount)["stale"], "the rest of that walk")
    kept.refresh(mount)
    assert set(shown(mount)) == {*before, new.original_file_name} - {ASSETS[0].original_file_name}
    assert not status(mount)["stale"]


def test_a_wrong_secret_ends_a_remount(kept: KeptLibrary) -> None:
    """In the foreground: exit code 3 soon, one line that says why, nothing mounted."""
    kept.fill()
    mount = kept.unstarted()
    mount.path.mkdir()
    config = commands.write_config(mount.folder / "config.toml", kept.emulator, api_secret="s" * 40)
    began = time.monotonic()
    done = commands.run(
        *("mount", "-f", "--config", config, "--profile", commands.PROFILE),
        *mount.options,
        mount.path,
        home=mount.folder,
    )
    assert done.returncode == 3, done.stderr
    assert time.monotonic() - began < 60, "tried again"
    assert not is_mounted(mount.path)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("backlotfs: ")
    assert "secret" in done.stderr.splitlines()[-1]


def test_a_wrong_secret_fails_the_command_itself(kept: KeptLibrary) -> None:
    """In the background: the command does not say that it mounted, but why it did not."""
    kept.fill()
    mount = kept.unstarted()
    mount.path.mkdir()
    config = commands.write_config(mount.folder / "config.toml", kept.emulator, api_secret="s" * 40)
    done = commands.run(
        *("mount", "--config", config, "--profile", commands.PROFILE),
        *("--log-file", mount.folder / "log"),
        *mount.options,
        mount.path,
        home=mount.folder,
    )
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "secret" in done.stderr
    assert not is_mounted(mount.path)


def test_a_secret_that_is_refused_later_does_not_end_the_mount(kept: KeptLibrary) -> None:
    """A mount that was accepted once goes on with what it has: stale, not gone."""
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    before = shown(mount)
    kept.emulator.faults.add(Fault.status(401, '{"message": "Invalid signature."}'), route="assets")
    ask_for_refresh(mount)
    wait_until(lambda: bool(status(mount)["stale"]), "status to say so")
    assert shown(mount) == before
    assert mount.process.poll() is None


def test_an_empty_answer_is_doubted_once(kept: KeptLibrary) -> None:
    """A full listing that is suddenly empty is an API fault, until it is empty again."""
    mount = kept.mount()
    mount.expect_log(COMPLAINT)
    before = shown(mount)
    nothing = Fault.status(200, '{"items": []}', content_type="application/json")
    rule = kept.emulator.faults.add(nothing, route="assets")
    ask_for_refresh(mount, full=True)
    wait_until(lambda: bool(status(mount)["stale"]), "the doubt")
    assert shown(mount) == before
    ask_for_refresh(mount, full=True)
    wait_until(lambda: os.listdir(mount.path) == [], "the second empty answer to be believed")
    kept.emulator.faults.remove(rule)
    ask_for_refresh(mount, full=True)
    wait_until(lambda: len(os.listdir(mount.path)) == len(before), "all of it again")
    assert {name: row[0] for name, row in shown(mount).items()} == {
        name: row[0] for name, row in before.items()
    }


def test_no_call_at_all_without_the_api(kept: KeptLibrary) -> None:
    """Names that desktops ask for, absent names, listings: none of it waits for a hanging API."""
    kept.fill()
    with kept.hanging():
        mount = kept.mount()
        asked = len(api_calls(kept.emulator))
        assert_quickly_absent(mount)
        assert len(api_calls(kept.emulator)) <= asked + 1  # the look beside


def assert_quickly_absent(mount: Mount) -> None:
    """Names nobody has: ENOENT, each in a moment."""
    began = time.monotonic()
    for name in (
        "._clip-1.mov", ".DS_Store", "Thumbs.db", "desktop.ini", ".Trash-1000", ".git", "absent",
    ):  # fmt: skip
        assert not (mount / name).exists()
        assert not (mount / name / "info").exists()
    assert time.monotonic() - began < 8.0
