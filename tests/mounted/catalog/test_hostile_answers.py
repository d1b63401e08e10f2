# SPDX-License-Identifier: Apache-2.0
"""Answers made to harm whoever reads them: the mount lives, and what it shows is bounded."""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator, Fault
from tests.conftest import Serve
from tests.mounted.catalog.kept_library import ask_for_refresh, status, uploaded
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

ASSETS = [video("reel.mov", 300_000), video("clip.mov", 5000)]
#: What the bomb unpacks to, and by what the mount may grow while it refuses it.
BOMB_BYTES, GROWTH_BYTES = 512 * MIB, 192 * MIB


def bomb() -> bytes:
    """An empty library, and half a gigabyte of blanks in it, in half a megabyte of gzip."""
    packer = zlib.compressobj(wbits=31)
    blanks = b" " * MIB
    pieces = [packer.compress(b'{"items": [')]
    pieces += [packer.compress(blanks) for _ in range(BOMB_BYTES // MIB)]
    return b"".join([*pieces, packer.compress(b"]}"), packer.flush()])


def gzipped(body: bytes) -> Fault:
    """An answer that is sent as it is, and said to be compressed."""
    headers = {"Content-Encoding": "gzip"}
    return Fault.status(200, body, content_type="application/json", headers=headers)


def plain(body: bytes) -> Fault:
    """An answer of JSON."""
    return Fault.status(200, body, content_type="application/json")


#: What the API answers, and what the mount says of it.
HOSTILE: dict[str, tuple[Fault, str]] = {
    "bomb": (gzipped(bomb()), "more than 32 MiB"),
    "bomb in a bomb": (
        Fault.status(200, b"x", headers={"Content-Encoding": "gzip, gzip"}),
        "encoding that was not asked for",
    ),
    "deeply nested": (
        plain(b'{"items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "nested too deeply",
    ),
    "a million records": (
        plain(b'{"items": [' + b"{}," * 1_000_000 + b"{}]}"),
        "more than 100000 records",
    ),
}


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The library."""
    return serve(*ASSETS)


@pytest.fixture(scope="module")
def mount(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """One for all of them: what one answer spoils, the next would find."""
    with Mount(emulator, tmp_path_factory.mktemp("hostile")) as mount:
        mount.expect_log(r"could not be refreshed|EIO: |nothing can be found out")
        yield mount


def peak_bytes(mount: Mount) -> int:
    """The most memory that its process ever had."""
    text = Path(f"/proc/{mount.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


def assert_it_lives(mount: Mount, emulator: Emulator) -> None:
    """An upload is shown at the next refresh, and read."""
    new = emulator.library.add(uploaded(f"new-{len(os.listdir(mount.path))}.mov", 70_000))
    ask_for_refresh(mount, full=True)
    wait_until(lambda: new.original_file_name in os.listdir(mount.path), "the next refresh")
    assert not status(mount)["stale"]
    assert_same_bytes(mount.file_of(new), new)


@pytest.mark.parametrize("name", few_of(HOSTILE, "bomb", "deeply nested"))
def test_a_hostile_listing(mount: Mount, emulator: Emulator, name: str) -> None:
    """Is refused before it is objects in memory: the listing stays, `status` says why."""
    fault, says = HOSTILE[name]
    shown, peak = sorted(os.listdir(mount.path)), peak_bytes(mount)
    rule = emulator.faults.add(fault, route="assets")
    ask_for_refresh(mount, full=True)
    wait_until(lambda: bool(status(mount)["stale"]), "the refresh to fail")
    assert says in status(mount)["last_error"]
    assert sorted(os.listdir(mount.path)) == shown
    assert_same_bytes(mount.file_of(ASSETS[0]), ASSETS[0])
    assert peak_bytes(mount) - peak < GROWTH_BYTES
    assert rule.hits > 0
    emulator.faults.remove(rule)
    assert_it_lives(mount, emulator)


@pytest.mark.parametrize("name", few_of(HOSTILE, "bomb in a bomb"))
def test_a_hostile_answer_about_a_source(mount: Mount, emulator: Emulator, name: str) -> None:
    """EIO for whoever stats that file, the others are as before; right once the API is."""
    fault, _ = HOSTILE[name]
    peak = peak_bytes(mount)
    asset = uploaded(f"source-{len(os.listdir(mount.path))}.mov", 70_000)
    rules = [
        emulator.faults.add(fault, route=route, embed_code=asset.embed_code)
        for route in ("streams", "source_file_info")
    ]
    emulator.library.add(asset)
    ask_for_refresh(mount)
    wait_until(lambda: asset.original_file_name in os.listdir(mount.path), "the refresh")
    with pytest.raises(OSError, match=r".") as caught:
        mount.file_of(asset).stat()
    assert caught.value.errno == errno.EIO
    assert_same_bytes(mount.file_of(ASSETS[1]), ASSETS[1])
    assert peak_bytes(mount) - peak < GROWTH_BYTES
    assert sum(rule.hits for rule in rules) > 0
    for rule in rules:
        emulator.faults.remove(rule)

    def known() -> bool:
        try:
            return mount.file_of(asset).stat().st_size == 70_000
        except OSError:
            return False  # the error of the last look stands for a while

    wait_until(known, "its size")
    assert_same_bytes(mount.file_of(asset), asset)
