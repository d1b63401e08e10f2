# SPDX-License-Identifier: Apache-2.0
"""The next files of a folder are fetched before a program opens them, and little in vain."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, Fault
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import bytes_sent, ended_requests

pytestmark = pytest.mark.mounted

SIZE = 300 * KIB
COUNT = 40
#: What a walk may fetch for nothing.
WASTE_BYTES = 32 * MIB
#: Nothing is hedged with a limit, and each read reaches the mount: bytes are counted here.
OPTIONS = ("--bwlimit", "10G", "--no-passthrough")


def name_of(number: int) -> str:
    """Names whose order is not that of the listing."""
    return f"clip-{(number * 17) % COUNT:02}.mov"


@pytest.fixture
def assets() -> list[EmulatedAsset]:
    """A folder of small files."""
    return [video(name_of(number), SIZE + number) for number in range(COUNT)]


@pytest.fixture
def emulator(serve: Serve, assets: list[EmulatedAsset]) -> Emulator:
    """Their library."""
    return serve(*assets)


@pytest.fixture
def mount(mounted: MountIt, emulator: Emulator, assets: list[EmulatedAsset]) -> Mount:
    """A mount on which every size is known."""
    mount = mounted(emulator, *OPTIONS)
    for asset in assets:
        os.stat(mount.file_of(asset))
    return mount


def next_files(mount: Mount) -> dict[str, Any]:
    """What was fetched before it was opened."""
    found: dict[str, Any] = ask(mount.path, "stats")["next_files"]
    return found


def when_all_is_over(mount: Mount) -> dict[str, Any]:
    """The counts once each GET has ended."""

    def over() -> bool:
        requests = ask(mount.path, "stats")["requests"]
        return bool(2 * requests["made"] == sum(requests.values()))

    wait_until(over, "the end of every GET")
    return next_files(mount)


@pytest.mark.parametrize(
    "command",
    [
        'cp -r "$1" "$2"',
        'rsync -a "$1/" "$2"',
        'mkdir "$2" && find "$1" -type f -exec cp {} "$2" \\;',
        *(
            pytest.param(command, marks=pytest.mark.long)
            for command in (
                'mkdir "$2" && tar cf - -C "$1" . | tar xf - -C "$2"',
                'mkdir "$2" && cp "$1"/*.mov "$2"',
                'mkdir "$2" && find "$1" -type f -print0 | xargs -0 -n1 -P3 cp -t "$2"',
            )
        ),
    ],
    ids=["cp -r", "rsync", "find -exec", "tar", "cp *", "xargs -P"],
)
def test_a_folder_is_copied(
    mount: Mount, emulator: Emulator, assets: list[EmulatedAsset], command: str, tmp_path: Path
) -> None:
    """Right bytes, each fetched once, most of them before their file was opened."""
    # As far away as real hosts are. One at hand may have answered a program before a plan is made.
    emulator.faults.add(Fault.delay(0.03), route="source")
    copy = tmp_path / "copy"
    subprocess.run(["sh", "-c", command, "sh", str(mount.path), str(copy)], check=True)
    for asset in assets:
        assert_same_bytes(copy / str(asset.original_file_name), asset)
    found = when_all_is_over(mount)
    assert bytes_sent(emulator, *assets) == sum(SIZE + number for number in range(COUNT))
    assert found["read_bytes"] == found["fetched_bytes"] > COUNT * SIZE // 2


#: Takes the name of a copier, reads the beginning of a file, and keeps the file open.
_BEGIN_A_COPY = """
import pathlib, sys
pathlib.Path("/proc/self/comm").write_text("cp")
with open(sys.argv[1], "rb", buffering=0) as file:
    file.read(65536)
    print(flush=True)
    sys.stdin.read()
"""


def test_a_copier_has_a_large_window_at_once(serve: Serve, mounted: MountIt) -> None:
    """Also for its first file: it will read all of it."""
    film = video("film.mov", 24 * MIB)
    emulator = serve(film)
    path = mounted(emulator, *OPTIONS).file_of(film)
    command = [sys.executable, "-c", _BEGIN_A_COPY, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline()
        wait_until(lambda: bytes_sent(emulator, film) > 4 * MIB, "what was not read yet")
        program.stdin.close()
    assert program.returncode == 0


def after_three_files(
    mount: Mount, emulator: Emulator, assets: list[EmulatedAsset]
) -> EmulatedAsset:
    """Read three files by name; return the fourth once it was fetched, though nobody opened it."""
    assets = sorted(assets, key=lambda asset: str(asset.original_file_name))
    os.listdir(mount.path)
    for asset in assets[:3]:
        assert mount.file_of(asset).read_bytes()
    size = mount.file_of(assets[3]).stat().st_size
    wait_until(lambda: bytes_sent(emulator, assets[3]) == size, "the next file")
    return assets[3]


def test_the_next_file_is_there_before_it_is_opened(
    mount: Mount, emulator: Emulator, assets: list[EmulatedAsset]
) -> None:
    """Then its open and its reads ask nobody for anything."""
    following = after_three_files(mount, emulator, assets)
    when_all_is_over(mount)
    asked = len(ended_requests(emulator, embed_code=following.embed_code))
    assert_same_bytes(mount.file_of(following), following)
    assert len(ended_requests(emulator, embed_code=following.embed_code)) == asked


def test_a_file_that_was_replaced_since(
    mount: Mount, emulator: Emulator, assets: list[EmulatedAsset]
) -> None:
    """What was fetched ahead of an older version is not read by who opens the new one."""
    following = after_three_files(mount, emulator, assets)
    replaced = emulator.library.replace(following.embed_code, size=SIZE // 2)
    ask(mount.path, "refresh")
    path = mount.file_of(following)
    wait_until(lambda: path.stat().st_size == SIZE // 2, "the new version")
    assert_same_bytes(path, replaced)


@pytest.mark.parametrize(
    "command",
    [
        'cd "$1"; head -qc1 *',
        'cd "$1"; for file in *; do head -c1 "$file"; done',
        'cd "$1"; ls | awk "NR % 3 == 1" | xargs -n1 md5sum',
    ],
    ids=["head *", "for head", "every third"],
)
def test_little_is_fetched_for_nothing(
    mount: Mount, emulator: Emulator, assets: list[EmulatedAsset], command: str
) -> None:
    """A program that reads little, or few of the files."""
    subprocess.run(
        ["sh", "-c", command, "sh", str(mount.path)], check=True, stdout=subprocess.DEVNULL
    )
    when_all_is_over(mount)
    read_bytes = ask(mount.path, "stats")["reads"]["asked_bytes"]
    assert bytes_sent(emulator, *assets) - read_bytes <= WASTE_BYTES
    assert next_files(mount)["unread_bytes"] <= COUNT * 64 * KIB


def test_random_opens_fetch_nothing(mount: Mount, assets: list[EmulatedAsset]) -> None:
    """Files in no order."""
    order = random.Random(7).sample(assets, COUNT)
    os.listdir(mount.path)
    for asset in order:
        assert mount.file_of(asset).read_bytes()
    assert when_all_is_over(mount)["unread_bytes"] <= 8 * MIB
