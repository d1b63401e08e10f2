# SPDX-License-Identifier: Apache-2.0
"""``backlotfs warm``: what is warm is read without the origin, also after a restart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.mount.control.client import ask
from tests.conftest import Serve
from tests.support import commands
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount
from tests.support.remounting import Remount, remounts
from tests.support.request_log import bytes_sent

pytestmark = pytest.mark.mounted

FILM = video("film.mxf", 20 * MIB + 12_345)
SMALL = video("small.mov", 1000)
EMPTY = video("empty.mov", 0)
BROKEN = video("broken.mov", 3 * MIB)
HUGE = video("huge.mxf", 500 * MIB)
ASSETS = [FILM, SMALL, EMPTY, BROKEN, HUGE]
NAMES = ["film.mxf", "small.mov", "empty.mov"]
SIZE = 20 * MIB + 12_345 + 1000


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The origin."""
    return serve(*ASSETS)


@pytest.fixture(scope="module")
def remount(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remount]:
    """Ends the mount there is and makes another over the same disk tier, sized by default rules."""
    # with a limit, far off, nothing is hedged: bytes are counted here
    with remounts(emulator, tmp_path_factory, "--memory", "64M", "--bwlimit", "10G") as start:
        yield start


@pytest.fixture(scope="module")
def mount(remount: Remount) -> Mount:
    """The first of them."""
    return remount()


def warm(mount: Mount, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """What ``warm --json`` says, as each line of the result; with the exit code that is due."""
    done = commands.run("warm", "--json", *words, home=mount.folder)
    assert done.returncode == code, done.stderr
    return {**json.loads(done.stdout or "{}"), "stderr": done.stderr}


def test_warmed_read_after_a_restart(mount: Mount, remount: Remount, emulator: Emulator) -> None:
    """Though the line is as fast as a disk: on the disk it is, and the origin is not asked again.

    The second time, a part of it having been warm, costs nothing either.
    """
    first = warm(mount, *(mount / name for name in NAMES))
    assert (first["failed"], first["cached_bytes"]) == (0, SIZE)
    assert first["fetched_bytes"] == bytes_sent(emulator, FILM, SMALL) == SIZE
    again = warm(mount, *(mount / name for name in NAMES))
    assert (again["cached_bytes"], again["fetched_bytes"]) == (SIZE, 0)
    stats = ask(mount.path, "stats")
    assert (stats["warmed_bytes"], stats["unused_bytes"]) == (SIZE, 0)
    new = remount()
    for asset in (FILM, SMALL, EMPTY):
        assert_same_bytes(new.file_of(asset), asset)
    assert bytes_sent(emulator, FILM, SMALL) == SIZE
    stats = ask(new.path, "stats")
    assert stats["fetched_bytes"] == 0
    assert stats["reads"]["blocks"]["network"] == 0
    passed_through = stats["passthrough"]["opens"] >= 2  # the kernel has read the files itself
    assert passed_through or stats["reads"]["blocks"]["disk"] >= SIZE // (64 * KIB)
    mount.path, mount.folder = new.path, new.folder


def test_a_source_that_fails(mount: Mount, emulator: Emulator) -> None:
    """It is named, with the reason and its exit code; the others are warm; again goes on."""
    rule = emulator.faults.add(Fault.status(503), route="source", embed_code=BROKEN.embed_code)
    found = warm(mount, mount / "broken.mov", mount / "small.mov", code=4)
    emulator.faults.remove(rule)
    by_path = {Path(line["path"]).name: line for line in found["files"]}
    assert by_path["small.mov"]["error"] is None
    assert "503" in by_path["broken.mov"]["error"]
    assert "broken.mov" in found["stderr"]
    assert "1 of 2 files not in the disk cache" in found["stderr"]
    again = warm(mount, mount / "broken.mov", "--jobs", "1")
    assert (again["fetched_bytes"], again["failed"]) == (3 * MIB, 0)


@pytest.mark.long
def test_what_does_not_fit(emulator: Emulator, tmp_path: Path) -> None:
    """Is said before a byte is fetched; so is a mount that keeps nothing."""
    for size, words in (("64M", "has room for"), ("0", "keeps no blocks on disk")):
        folder = tmp_path / size
        folder.mkdir(mode=0o700)
        options = ("--cache-dir", str(folder / "cache"), "--cache-size", size)
        with Mount(emulator, folder, *options) as mount:
            found = commands.run("warm", mount / "huge.mxf", home=folder)
        assert found.returncode in (1, 2)
        assert words in found.stderr
        assert "--cache-size" in found.stderr
        assert "Traceback" not in found.stderr
    assert bytes_sent(emulator, HUGE) == 0


def test_paths_of_no_mount(mount: Mount, tmp_path: Path) -> None:
    """The message names what to do."""
    (tmp_path / "own.mov").touch()
    for path, code, words in (
        (tmp_path / "own.mov", 2, str(mount.path)),
        (mount / "absent.mov", 1, "No such file"),
    ):
        found = commands.run("warm", path, home=mount.folder)
        assert found.returncode == code
        assert words in found.stderr


def test_a_progress_bar_on_a_terminal_only(mount: Mount) -> None:
    """A pipe gets the result alone."""
    done = commands.run("warm", mount / "film.mxf", home=mount.folder)
    assert done.stderr == ""
    assert done.stdout == "1 file, 20.0 MiB, in the disk cache; 0 B fetched\n"
    line = commands.command("warm", mount / "film.mxf")
    shown = subprocess.run(
        ["script", "-qec", " ".join(line), "/dev/null"],
        env=commands.environment(mount.folder, {"TERM": "xterm"}),
        cwd=commands.ROOT, capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    assert "looking for files" in shown.stdout
    assert "0/0" not in shown.stdout, "there is nothing to fetch, so there is no bar for it"
    assert "1 file, 20.0 MiB, in the disk cache; 0 B fetched" in shown.stdout
