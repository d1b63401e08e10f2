# SPDX-License-Identifier: Apache-2.0
"""``backlotfs stats`` says what the origin's own log says, and who read."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from backlotfs.emulator import EmulatedAsset
from backlotfs.mount.control.client import ask
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount, held_open
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

WHOLE = video("whole.mxf", 20 * MIB + 123)
POINTS = video("points.mxf", 200 * MIB)
ASSETS = [WHOLE, POINTS]
#: A limit far off, with which nothing is hedged: bytes are counted here. The kernel must not read a
#: file that is complete on disk by itself, because the mount does not count such reads.
OPTIONS = ("--bwlimit", "10G", "--no-passthrough")
BLOCK = 64 * KIB


def stats(mount: Mount) -> dict[str, Any]:
    """What the mount says now."""
    return ask(mount.path, "stats")


def sent(mount: Mount, asset: EmulatedAsset) -> int:
    """Bytes that the origin has sent of a source, without the one byte of each probe."""
    entries = ended_requests(mount.emulator, route="source", embed_code=asset.embed_code)
    return sum(entry.bytes_sent for entry in entries if entry.range_header != "bytes=0-0")


def when_all_is_over(mount: Mount) -> dict[str, Any]:
    """What the mount says once each GET has ended: only then is it counted."""

    def over() -> bool:
        requests = stats(mount)["requests"]
        return bool(2 * requests["made"] == sum(requests.values()))

    wait_until(over, "the end of every GET")
    return stats(mount)


def test_a_copy(library_mount: Mount) -> None:
    """By name of the program: every byte asked for once and fetched once, nothing left over."""
    subprocess.run(["cat", library_mount.file_of(WHOLE)], check=True, stdout=subprocess.DEVNULL)
    found = when_all_is_over(library_mount)
    size = 20 * MIB + 123
    # A page that the kernel drops before the program has it is asked for again.
    assert size <= found["processes"]["cat"]["asked_bytes"] < size + MIB
    assert found["processes"]["cat"]["failed"] == 0
    assert sum(found["processes"]["cat"]["blocks"].values()) >= size // BLOCK + 1
    assert found["fetched_bytes"] == sent(library_mount, WHOLE) == size
    assert (found["amplification"], found["unused_bytes"]) == (pytest.approx(1.0, abs=0.05), 0)
    # The other file may be probed at this very moment.
    wait_until(
        lambda: (
            stats(library_mount)["requests"]["made"]
            == len(ended_requests(library_mount.emulator, route="source"))
        ),
        "as many requests as the origin has answered",
    )
    assert found["url_refreshes"] >= 1


def test_read_again_from_memory(library_mount: Mount) -> None:
    """What the kernel has let go of and we have not: hits of memory, no byte fetched."""
    before = stats(library_mount)
    with held_open(library_mount.file_of(WHOLE)) as descriptor:

        def from_memory() -> bool:
            # the kernel keeps pages that another processor has in hand: then it is told again
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            assert len(os.pread(descriptor, MIB, 4 * MIB)) == MIB
            blocks = stats(library_mount)["reads"]["blocks"]["memory"]
            return bool(blocks - before["reads"]["blocks"]["memory"] >= 2 * MIB // BLOCK)

        wait_until(from_memory, "reads that the mount sees")
    after = stats(library_mount)
    grown = {
        tier: count - before["reads"]["blocks"][tier]
        for tier, count in after["reads"]["blocks"].items()
    }
    assert (grown["disk"], grown["network"]) == (0, 0)
    assert after["fetched_bytes"] == before["fetched_bytes"]


def test_single_points(library_mount: Mount) -> None:
    """A block for each page: the amplification is seen, and what nobody read."""
    before = stats(library_mount)
    path = library_mount.file_of(POINTS)
    with held_open(path) as descriptor:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for number in (90, 13, 150):
            os.pread(descriptor, 4 * KIB, number * MIB)
    after = when_all_is_over(library_mount)
    asked = after["reads"]["asked_bytes"] - before["reads"]["asked_bytes"]
    fetched = after["fetched_bytes"] - before["fetched_bytes"]
    assert asked == 3 * 4 * KIB
    assert fetched == sent(library_mount, POINTS) == 3 * BLOCK
    assert after["reads"]["blocks"]["network"] - before["reads"]["blocks"]["network"] == 3
    assert after["amplification"] == round(
        after["fetched_bytes"] / after["reads"]["asked_bytes"], 4
    )


def test_memory_is_given_back(library_mount: Mount) -> None:
    """When the readers have closed, and what they asked for has come, it is kept or free."""

    def at_rest() -> bool:
        memory = stats(library_mount)["memory"]
        return not memory["leased_bytes"] and not memory["in_flight_bytes"]

    with held_open(library_mount.file_of(POINTS)) as descriptor:
        os.pread(descriptor, MIB, 30 * MIB)
    wait_until(at_rest, "the end of what was asked for")
    memory = stats(library_mount)["memory"]
    assert MIB <= memory["cached_bytes"] <= memory["budget_bytes"]


def test_the_command(library_mount: Mount) -> None:
    """For people, and as JSON the same as the mount says."""
    text = commands.run("stats", library_mount.path, home=library_mount.folder)
    assert (text.returncode, text.stderr) == (0, "")
    assert "blocks from" in text.stdout
    assert "cached, none in use, 0 B in flight" in text.stdout
    # The history counts bytes as they come, the other number when their GET is over.
    wait_until(
        lambda: (
            (now := stats(library_mount))["history"][-1]["fetched_bytes"] == now["fetched_bytes"]
        ),
        "the last GET to be over",
    )
    output = commands.run("stats", library_mount.path, "--json", home=library_mount.folder).stdout
    printed, known = json.loads(output), stats(library_mount)
    last = printed.pop("history")[-1]  # its time is now
    assert known.pop("history")[-1]["read_bytes"] == last["read_bytes"]
    assert printed == known
    assert last["read_bytes"] == printed["reads"]["asked_bytes"]
    assert last["fetched_bytes"] == printed["fetched_bytes"]
    assert last["blocks"] == printed["reads"]["blocks"]


@pytest.mark.long
def test_a_plot(library_mount: Mount) -> None:
    """Of the same figures; a second one replaces it."""
    path = library_mount.folder / "report.svg"
    subprocess.run(["cat", library_mount.file_of(WHOLE)], check=True, stdout=subprocess.DEVNULL)
    for _ in range(2):
        done = commands.run("stats", library_mount.path, "--plot", path, home=library_mount.folder)
        assert (done.returncode, done.stderr) == (0, "")
    assert ">cat</text>" in path.read_text("utf-8")
