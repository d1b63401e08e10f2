# SPDX-License-Identifier: Apache-2.0
"""``backlotfs pin``: what is pinned stays, whatever is read, over restarts and replacements."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.mount.control.client import ask
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, current, len_of
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.remounting import Remount, remounts
from tests.support.request_log import bytes_sent

pytestmark = pytest.mark.mounted

FILM = video("film.mxf", 5 * MIB + 12_345)
SMALL = video("small.mov", 1000)
SLOW = video("slow.mov", 4 * MIB)
HUGE = video("huge.mxf", 14 * MIB)
#: Together more than the whole cache.
OTHERS = [video(f"other-{number}.mov", 5 * MIB) for number in range(4)]
ASSETS = [FILM, SMALL, SLOW, HUGE, *OTHERS]
#: Of 16 MiB, 12.8 may be pinned. With a limit no GET is hedged, so the bytes can be counted.
OPTIONS = ("--cache-size", "16M", "--memory", "8M", "--bwlimit", "10G")


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The origin."""
    return serve(*ASSETS)


@pytest.fixture(scope="module")
def remount(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remount]:
    """Ends the mount there is and makes another over the same disk tier."""
    with remounts(emulator, tmp_path_factory, *OPTIONS) as start:
        yield start


@pytest.fixture(scope="module")
def mount(remount: Remount) -> Mount:
    """The first of them."""
    return remount()


def said(mount: Mount, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """What a command says with ``--json``, and on stderr; with the exit code that is due."""
    done = commands.run(*words, "--json", home=mount.folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return {**json.loads(done.stdout or "{}"), "stderr": done.stderr}


def pinned(mount: Mount) -> dict[str, tuple[int, int]]:
    """Map each path to its cached bytes and its size."""
    files = ask(mount.path, "pins")["files"]
    return {path: (file["cached_bytes"], file["size"]) for file in files for path in file["paths"]}


def fill_cache(mount: Mount) -> None:
    """Fill the cache beyond its limit, without a walk whose next files the mount would fetch."""
    before = ask(mount.path, "stats")["disk"]["evicted"]
    for asset in OTHERS:
        said(mount, "warm", mount.file_of(asset))
    assert ask(mount.path, "stats")["disk"]["evicted"] > before


def test_pinned_files_are_read_without_the_origin(
    mount: Mount, remount: Remount, emulator: Emulator
) -> None:
    """Though more than the cache holds was fetched meanwhile, and the mount was made anew."""
    size = len_of(FILM) + len_of(SMALL)
    done = said(mount, "pin", mount / "film.mxf", mount / "small.mov")
    assert (done["failed"], done["cached_bytes"], done["fetched_bytes"]) == (0, size, size)
    assert {file["pinned"] for file in done["files"]} == {True}
    assert bytes_sent(emulator, FILM, SMALL) == size
    fill_cache(mount)
    everything_down = emulator.faults.add(Fault.status(503))
    new = remount()
    new.expect_log("STALE|could not be refreshed")
    for asset in (FILM, SMALL):
        assert_same_bytes(new.file_of(asset), asset)
    assert ask(new.path, "stats")["fetched_bytes"] == 0
    emulator.faults.remove(everything_down)
    fill_cache(new)
    assert pinned(new) == {
        f"/{asset.original_file_name}": (len_of(asset), len_of(asset)) for asset in (FILM, SMALL)
    }
    assert bytes_sent(emulator, FILM, SMALL) == size
    mount.path, mount.folder = new.path, new.folder


def test_what_does_not_fit_is_refused(mount: Mount, emulator: Emulator) -> None:
    """Before a byte is fetched, and nothing that was pinned is lost."""
    before = pinned(mount)
    for words in ([mount / "huge.mxf"], [mount / "slow.mov", mount.file_of(OTHERS[0])]):
        stderr = said(mount, "pin", *words, code=1)["stderr"]
        assert stderr.count("\n") == 1
        assert "--pin-quota" in stderr
        assert "unpin" in stderr
    assert bytes_sent(emulator, HUGE, SLOW) == 0
    assert pinned(mount) == before
    again = said(mount, "pin", mount / "film.mxf")
    assert (again["fetched_bytes"], again["failed"]) == (0, 0)


def test_the_listing(mount: Mount) -> None:
    """For people, and for programs the same as the mount says."""
    text = commands.run("pins", mount.path, home=mount.folder)
    assert (text.returncode, text.stderr) == (0, "")
    assert text.stdout.startswith("2 files pinned, 5.1 MiB of 5.1 MiB in the disk cache")
    assert "100 % of    5.0 MiB  /film.mxf\n" in text.stdout
    listed = said(mount, "pins", mount.path)
    del listed["stderr"]
    assert listed == ask(mount.path, "pins")
    assert listed["needed_bytes"] == listed["cached_bytes"] <= listed["quota_bytes"] <= 13 * MIB


def test_an_interrupted_pin_goes_on(mount: Mount, emulator: Emulator) -> None:
    """Ctrl-C ends it in a sentence; the same command fetches the rest, and no byte twice."""
    slow = emulator.faults.add(Fault.trickle(1.0 * MIB), route="source", embed_code=SLOW.embed_code)
    output = mount.folder / "pin.log"
    with output.open("w") as log:
        process = commands.start("pin", mount / "slow.mov", home=mount.folder, log=log)
    wait_until(lambda: pinned(mount).get("/slow.mov", (0, 0))[0] > 0, "a first block", timeout_s=90)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "the same command to continue" in output.read_text()
    emulator.faults.remove(slow)
    cached, size = pinned(mount)["/slow.mov"]
    assert 0 < cached < size
    done = said(mount, "pin", mount / "slow.mov")
    assert (done["failed"], done["cached_bytes"]) == (0, size)
    assert done["fetched_bytes"] < size
    assert_same_bytes(mount.file_of(SLOW), SLOW)


def test_a_replaced_source_is_fetched_anew(mount: Mount, emulator: Emulator) -> None:
    """By itself; the blocks of the old version make room."""
    cached_before = ask(mount.path, "pins")["cached_bytes"]
    emulator.library.replace(FILM.embed_code, size=3 * MIB + 1)
    size = 3 * MIB + 1
    commands.run("refresh", mount.path, home=mount.folder)
    wait_until(lambda: pinned(mount).get("/film.mxf") == (size, size), "the pin", timeout_s=90)
    assert ask(mount.path, "pins")["cached_bytes"] == cached_before - 2 * MIB
    before = bytes_sent(emulator, FILM)
    assert_same_bytes(mount.file_of(FILM), current(emulator, FILM))
    assert bytes_sent(emulator, FILM) == before


def test_a_deleted_source_lets_go_of_its_pin(mount: Mount, emulator: Emulator) -> None:
    """Nobody could read it any more."""
    emulator.library.delete(SLOW.embed_code)
    done = commands.run("refresh", "--wait", mount.path, home=mount.folder)
    assert done.stdout == f"{mount.path} is up to date\n"
    wait_until(lambda: len(ask(mount.path, "pins")["files"]) == 2, "its end", timeout_s=90)
    assert set(pinned(mount)) == {"/film.mxf", "/small.mov"}


def test_unpinned_files_go_for_others(mount: Mount, emulator: Emulator) -> None:
    """Not at once: when room is needed."""
    done = said(mount, "unpin", mount / "film.mxf")
    assert (done["files"], done["size"]) == (1, 3 * MIB + 1)
    assert "no file there" in commands.run("unpin", mount / "film.mxf", home=mount.folder).stdout
    before = bytes_sent(emulator, FILM)
    assert said(mount, "warm", mount / "film.mxf")["fetched_bytes"] == 0
    fill_cache(mount)
    assert said(mount, "warm", mount / "film.mxf")["fetched_bytes"] > 2 * MIB
    assert bytes_sent(emulator, FILM) > before
    assert said(mount, "unpin", mount.path)["files"] == 1
    assert ask(mount.path, "pins")["files"] == []


def test_a_mount_without_a_disk_tier(emulator: Emulator, tmp_path: Path) -> None:
    """Says once what is missing."""
    with Mount(emulator, tmp_path, "--cache-size", "0") as mount:
        for command in ("pin", "pins"):
            done = commands.run(command, mount.path, home=tmp_path)
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1
            assert "--cache-dir" in done.stderr
    assert bytes_sent(emulator, HUGE) == 0
