# SPDX-License-Identifier: Apache-2.0
"""``backlotfs status`` and ``backlotfs refresh`` on a real mount."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.conftest import Serve
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import KeptLibrary, uploaded, wait_until_sized
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

LOST = video("lost.mov", url_withheld=True)
ASSETS = [*(video(f"clip-{n}.mov", 1000 + n) for n in range(5)), LOST]
FIELDS = {
    "source", "mountpoint", "pid", "assets", "sizes", "synced_at", "stale", "last_error",
    "credits", "url_refreshes", "log",
}  # fmt: skip


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library, with a budget so that credits can be told."""
    return keep(*ASSETS, rate_limit=300)


@pytest.fixture
def mount(kept: KeptLibrary) -> Mount:
    """A mount of it, every size known that can be."""
    running = kept.mount()
    os.listdir(running.path)  # or the crawl would take its time
    wait_until_sized(running)
    return running


def said(mount: Mount, *arguments: str) -> str:
    """What ``backlotfs status`` prints."""
    done = commands.run("status", mount.path, *arguments, home=mount.folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_as_json(mount: Mount) -> None:
    """One object, one line: every field, true."""
    answer = json.loads(said(mount, "--json"))
    assert answer.keys() >= FIELDS
    assert answer["pid"] == mount.process.pid
    assert answer["mountpoint"] == str(mount.path)
    assert answer["source"] == f"backlot:{commands.PROFILE}"
    assert answer["assets"] == len(ASSETS)
    sizes = answer["sizes"]
    assert (sizes["sized"], sizes["missing"], sizes["total"]) == (5, 1, 6)
    assert abs(time.time() - answer["synced_at"]) < 60
    assert (answer["stale"], answer["last_error"]) == (False, None)
    assert answer["credits"]["limit"] in (299, 300)
    assert 0 < answer["credits"]["credits_left"] < 300
    assert answer["log"] == "stderr"
    assert mount.emulator.api_secret not in json.dumps(answer)


def test_as_text(mount: Mount) -> None:
    """The same for people; the only mount needs no name if it is the only one."""
    text = said(mount)
    for part in (
        f"backlot:{commands.PROFILE} on {mount.path} (pid {mount.process.pid})",
        "sizes          all known",
        "API credits",
        "stderr",
    ):
        assert part in text
    assert "STALE" not in text
    assert "last error" not in text


def test_while_sizes_are_missing(kept: KeptLibrary) -> None:
    """What is still to be done, and no time for it while none is known."""
    with kept.hanging("streams", "source_file_info"):
        mount = kept.mount()
        assert "0 known, 6 pending" in said(mount)
        assert json.loads(said(mount, "--json"))["sizes"]["seconds_left"] is None


def test_it_is_answered_while_the_api_hangs(kept: KeptLibrary, mount: Mount) -> None:
    """A sync that waits keeps nobody from asking, nor from listing."""
    with kept.hanging():
        assert commands.run("refresh", mount.path, home=mount.folder).returncode == 0
        kept.emulator.requests.wait_for(lambda log: any(not e.ended for e in log.entries()))
        assert json.loads(said(mount, "--json"))["assets"] == len(ASSETS)
        assert len(os.listdir(mount.path)) == len(ASSETS) - 1, "what has no source is not listed"


def test_what_the_last_error_was(kept: KeptLibrary, mount: Mount) -> None:
    """In words, without a secret or a query string; gone after the next good sync."""
    mount.expect_log("could not be refreshed")
    rule = kept.emulator.faults.add(Fault.status(400, "no"), route="assets")
    commands.run("refresh", mount.path, home=mount.folder)
    wait_until(lambda: json.loads(said(mount, "--json"))["stale"], "the failure")
    error = json.loads(said(mount, "--json"))["last_error"]
    assert "400" in error
    assert "?" not in error
    assert "signature" not in error.lower()
    assert error in said(mount)
    kept.emulator.faults.remove(rule)
    kept.refresh(mount)
    assert "last error" not in said(mount)


def test_refresh(kept: KeptLibrary, mount: Mount) -> None:
    """Returns at once, says where to look; what changed is shown soon after."""
    new = kept.emulator.library.add(uploaded("new.mov", 5))
    done = commands.run("refresh", mount.path, home=mount.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"backlotfs status {mount.path}" in done.stdout
    wait_until(lambda: new.original_file_name in os.listdir(mount.path), "the upload")


def test_refresh_full_walks(keep: Keep) -> None:
    """With ``--full`` every page is asked for, without it only what changed."""
    kept = keep(*ASSETS, page_cap=2)
    mount = kept.mount()
    wait_until_sized(mount)
    kept.emulator.requests.clear()
    kept.refresh(mount, full=True)
    asked = [entry.route for entry in ended_requests(kept.emulator)]
    assert (asked.count("assets"), asked.count("deleted_assets")) == (4, 0)


@pytest.mark.parametrize("command", ["status", "refresh"])
def test_no_mount_there(tmp_path: Path, command: str) -> None:
    """A folder that is no mount, and one that does not exist: 1 or 5, and one line that helps."""
    for place in (tmp_path, tmp_path / "absent"):
        done = commands.run(command, place, home=tmp_path)
        assert done.returncode in (1, 5)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("backlotfs: ")
        assert str(place) in done.stderr


@pytest.mark.parametrize("command", ["status", "refresh"])
def test_a_dead_mount(serve: Serve, tmp_path: Path, command: str) -> None:
    """Killed: the line says how to clear it."""
    mount = Mount(serve(*ASSETS), tmp_path).start()
    mount.process.kill()
    mount.process.wait()
    done = commands.run(command, mount.path, home=tmp_path)
    assert done.returncode == 1
    assert f"backlotfs umount {mount.path}" in done.stderr
    assert commands.run("umount", mount.path, home=tmp_path).returncode == 0
    mount.expect_exit(-9)
    mount.close()


def test_by_another_way_to_the_same_place(mount: Mount, tmp_path: Path) -> None:
    """Through a symbolic link, and relative."""
    link = tmp_path / "link"
    link.symlink_to(mount.path)
    done = commands.run("status", "--json", link, home=mount.folder)
    assert json.loads(done.stdout)["pid"] == mount.process.pid
    relative = os.path.relpath(mount.path, commands.ROOT)
    done = commands.run("status", "--json", relative, home=mount.folder)
    assert json.loads(done.stdout)["pid"] == mount.process.pid
