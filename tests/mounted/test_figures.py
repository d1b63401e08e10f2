# SPDX-License-Identifier: Apache-2.0
"""What a mount tells of itself: ``status`` and the attributes of files, beside the origin's log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.mount.control.client import ask
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount, held_open
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 9 * MIB + 5)
OTHER = video("other.mov", 2 * MIB)
BROKEN = video("broken.mov", MIB)
LONG = video("long.mxf", 200 * MIB)
ASSETS = [REEL, OTHER, BROKEN, LONG]
SIZE = 9 * MIB + 5


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The origin, with a budget so that credits can be told."""
    return serve(*ASSETS, rate_limit=300)


@pytest.fixture(scope="module")
def mount(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount with a disk tier, every size known."""
    folder = tmp_path_factory.mktemp("figures")
    # with a limit, far off, nothing is hedged: bytes are counted here
    options = ("--cache-size", "64M", "--cache-dir", str(folder / "cache"), "--bwlimit", "10G")
    with Mount(emulator, folder, *options) as mount:
        for asset in ASSETS:
            mount.file_of(asset).stat()
        yield mount


def status(mount: Mount) -> dict[str, Any]:
    """What the mount says now."""
    return ask(mount.path, "status")


def whole(mount: Mount) -> dict[str, Any]:
    """What has passed since its start."""
    passed = status(mount)["throughput"]["since_start"]
    assert isinstance(passed, dict)
    return passed


def attribute(mount: Mount, name: str, file: str = "reel.mov") -> str:
    """One extended attribute."""
    return os.getxattr(mount / file, f"user.backlotfs.{name}").decode()


def source_bytes(emulator: Emulator) -> int:
    """What the origin has sent of sources, without the one byte of each probe."""
    entries = ended_requests(emulator, route="source")
    return sum(entry.bytes_sent for entry in entries if entry.range_header != "bytes=0-0")


def test_before_anything_is_read(mount: Mount) -> None:
    """The library and its size; nothing cached, nothing pinned, no errors."""
    found = status(mount)
    assert found["schema"] == 1
    assert (found["assets"], found["size_bytes"]) == (4, SIZE + 203 * MIB)
    assert whole(mount)["read_bytes"] == 0
    assert (found["errors"], found["processes"]) == ([], {})
    assert found["cache"]["pinned"]["files"] == 0
    assert found["cache"]["disk"]["budget_bytes"] == 64 * MIB
    assert abs(found["since"] - time.time()) < 60
    assert (attribute(mount, "cached"), attribute(mount, "pinned")) == ("0", "0")
    with pytest.raises(OSError, match="No data available"):
        attribute(mount, "last_error")


def test_a_copy(mount: Mount, emulator: Emulator) -> None:
    """Every byte is told, as the origin sent it and as the program asked for it."""
    subprocess.run(["cat", mount / "reel.mov"], check=True, stdout=subprocess.DEVNULL)
    # The origin logs a GET when it is over, which is after its last reader has gone on.
    wait_until(
        lambda: source_bytes(emulator) >= SIZE and whole(mount)["fetched_bytes"] >= SIZE,
        "the last GET to be over",
    )
    assert source_bytes(emulator) == SIZE
    assert whole(mount)["fetched_bytes"] == SIZE
    # A page that the kernel drops before the program has it is asked for again.
    assert SIZE <= whole(mount)["read_bytes"] < SIZE + MIB
    found = status(mount)
    assert SIZE <= found["processes"]["cat"]["asked_bytes"] < SIZE + MIB
    assert found["credits"]["credits_left"] < found["credits"]["limit"]
    assert found["url_refreshes"] >= 1
    wait_until(lambda: status(mount)["cache"]["disk"]["cached_bytes"] >= SIZE, "the disk")
    assert attribute(mount, "cached") == str(SIZE)
    assert attribute(mount, "cached", "other.mov") == "0"


def test_now(mount: Mount) -> None:
    """Of the last seconds, what is given to readers and what comes over the line."""
    offsets = iter(range(0, 200 * MIB, MIB))
    with held_open(mount / "long.mxf") as descriptor:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

        def seen() -> bool:
            os.pread(descriptor, 4 * KIB, next(offsets))
            now = status(mount)["throughput"]["now"]
            return bool(now["read_bytes_per_s"] and now["fetched_bytes_per_s"])

        wait_until(seen, "a rate", timeout_s=90)


def test_a_part(mount: Mount) -> None:
    """As many bytes as the blocks hold that a read at the end has brought."""
    with (mount / "other.mov").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        assert len(os.pread(file.fileno(), 4 * KIB, 2 * MIB - 4 * KIB)) == 4 * KIB
    assert attribute(mount, "cached", "other.mov") == str(64 * KIB)


def test_pinned(mount: Mount) -> None:
    """Shown by both."""
    assert commands.run("pin", mount / "reel.mov", home=mount.folder).returncode == 0
    assert attribute(mount, "pinned") == "1"
    pinned = status(mount)["cache"]["pinned"]
    assert pinned["files"] == 1
    assert pinned["cached_bytes"] == pinned["needed_bytes"] >= SIZE
    commands.run("unpin", mount / "reel.mov", home=mount.folder)
    assert attribute(mount, "pinned") == "0"


def test_an_error_is_told(mount: Mount, emulator: Emulator) -> None:
    """Of a read: with time, file, reason and errno; by `status` and by the file itself."""
    mount.expect_log("read: EACCES")
    rule = emulator.faults.add(Fault.status(403), route="source", embed_code=BROKEN.embed_code)
    with pytest.raises(PermissionError):
        (mount / "broken.mov").read_bytes()
    emulator.faults.remove(rule)
    (error,) = status(mount)["errors"]
    assert (error["file"], error["errno"]) == ("broken.mov", "EACCES")
    assert error["embed_code"] == BROKEN.embed_code
    assert "403" in error["reason"]
    assert abs(error["at"] - time.time()) < 60
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(error["at"]))
    assert attribute(mount, "last_error", "broken.mov") == f"{moment} EACCES: {error['reason']}"
    with pytest.raises(OSError, match="No data available"):
        attribute(mount, "last_error")
    assert (mount / "broken.mov").read_bytes()
    text = commands.run("status", mount.path, home=mount.folder).stdout
    assert f"broken.mov: EACCES: {error['reason']}" in text
    assert emulator.api_secret not in json.dumps(status(mount))


def test_attributes_ask_nobody(mount: Mount, emulator: Emulator) -> None:
    """Neither the API nor a source host."""
    before = len(ended_requests(emulator))
    for asset in ASSETS:
        for name in os.listxattr(mount.file_of(asset)):
            os.getxattr(mount.file_of(asset), name)
        attribute(mount, "pinned", mount.file_of(asset).name)
    assert attribute(mount, "cached") == str(SIZE)
    assert len(ended_requests(emulator)) == before


def test_watched_elsewhere(mount: Mount) -> None:
    """A plain line each second."""
    with subprocess.Popen(
        commands.command("status", "--watch", mount.path),
        env=commands.environment(mount.folder, {"PYTHONUNBUFFERED": "1"}),
        cwd=commands.ROOT, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    for line in lines:
        assert "\x1b" not in line
        assert "4 files" in line
        assert "last failed" in line
