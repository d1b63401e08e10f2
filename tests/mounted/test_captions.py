# SPDX-License-Identifier: Apache-2.0
"""``--captions`` on a real mount: the documents of the API as files beside the sources."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount, held_open
from tests.support.programs import run_program
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

ROUTE = "/closed_captions"
DFXP = b'\xef\xbb\xbf<?xml version="1.0"?>\r\n<tt xmlns="http://www.w3.org/ns/ttml"/>\r\n'
VTT = b"WEBVTT\n\n00:01.000 --> 00:02.000\n" + "Fluß\n".encode() * 60_000
SRT = b"1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n"
DOCUMENTS = {"a.mov.dfxp": DFXP, "b.mov.vtt": VTT, "c.mov.srt": b"a source"}

A = video("a.mov", 70_000, extras={ROUTE: DFXP})
B = video("b.mov", extras={ROUTE: VTT})
ASSETS = [
    A,
    B,
    video("c.mov", extras={ROUTE: SRT}),
    video("c.mov.srt", b"a source"),
    video("none.mov"),
    video("empty.mov", extras={ROUTE: ""}),
    video("strange.mov", extras={ROUTE: "<html>log in</html>"}),
    video("huge.mov", extras={ROUTE: b"WEBVTT\n" + b"\n" * (4 << 20)}),
]
NAMES = sorted([*(str(asset.original_file_name) for asset in ASSETS), "a.mov.dfxp", "b.mov.vtt"])


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The library."""
    return serve(*ASSETS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is mounted, and has its catalog."""
    return tmp_path_factory.mktemp("captions")


@pytest.fixture(scope="module")
def captioned(emulator: Emulator, folder: Path) -> Iterator[Mount]:
    """A mount of it with captions, by ``-o``, when all have been asked for."""
    with Mount(emulator, folder, "-o", "captions") as mount:
        mount.expect_log("skipped the captions of")
        wait_until(lambda: sorted(os.listdir(mount.path)) == NAMES, "the captions")
        told = f"searched captions of {len(ASSETS)} assets; 3 have some"
        wait_until(lambda: told in mount.log_text(), "all to be asked")
        assert set(questions(emulator).values()) == {1}
        yield mount


def questions(emulator: Emulator) -> Counter[str | None]:
    """How many calls were made for the captions of each asset."""
    return Counter(entry.embed_code for entry in ended_requests(emulator, route="closed_captions"))


def test_bytes_and_no_calls(emulator: Emulator, captioned: Mount) -> None:
    """Listed, looked at and read, they are what the API gave, and it is not asked for it."""
    sorted(os.listdir(captioned.path))
    for name in NAMES:
        (captioned / name).stat()  # from here on nothing is asked about sources either
    before = len(ended_requests(emulator))
    assert sorted(os.listdir(captioned.path)) == NAMES
    for name in ("a.mov.dfxp", "b.mov.vtt"):
        content = (captioned / name).read_bytes()
        found = (captioned / name).stat()
        assert content == DOCUMENTS[name]
        assert (found.st_size, found.st_mtime) == (len(content), A.changed_at)
    assert len(ended_requests(emulator)) == before
    assert (captioned / "c.mov.srt").read_bytes() == b"a source"


def test_rsync_twice(captioned: Mount, tmp_path: Path) -> None:
    """The second run has nothing to do."""
    command = ("rsync", "-a", "--itemize-changes", f"{captioned.path}/", f"{tmp_path}/copy/")
    assert run_program(*command).count(">f+++++++++") == len(NAMES)
    assert run_program(*command) == ""
    assert run_program(*command, "--checksum") == ""
    assert (tmp_path / "copy" / "b.mov.vtt").read_bytes() == VTT


def test_what_is_left_out_is_told(captioned: Mount) -> None:
    """One line for each, with the reason; what has none is no news."""
    lines = [line for line in captioned.log_text().splitlines() if "skipped the captions" in line]
    assert len(lines) == 2
    assert sum("more than 4 MiB" in line for line in lines) == 1


def test_edited_captions_come_after_a_touch(
    emulator: Emulator, captioned: Mount, tmp_path: Path
) -> None:
    """For one call, with a new time; who has the old ones open goes on reading those."""
    path = captioned / "a.mov.dfxp"
    copied = ("rsync", "-a", "--itemize-changes", str(path), f"{tmp_path}/")
    run_program(*copied)
    before, asked = path.stat(), questions(emulator)
    asked[A.embed_code] += 1
    edited = DFXP.replace(b"1.0", b"1.1")
    with held_open(path) as descriptor:
        old = os.pread(descriptor, 10, 0)
        emulator.library.edit(A.embed_code, extras={ROUTE: edited})
        done = commands.run("refresh", captioned.path, home=captioned.folder)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: path.read_bytes() == edited, "the new captions")
        old += os.pread(descriptor, 1 << 20, 10)
    assert old == DFXP
    wait_until(lambda: path.stat().st_mtime > before.st_mtime, "the new time")
    assert (path.stat().st_size, path.stat().st_ino) == (len(edited), before.st_ino)
    assert questions(emulator) == asked
    assert ">f" in run_program(*copied), "the same size, and yet it is copied"
    assert (tmp_path / path.name).read_bytes() == edited


def test_the_next_mount_asks_nobody(emulator: Emulator, captioned: Mount, folder: Path) -> None:
    """It has them from the catalog, which is the owner's alone; only what was strange is tried."""
    asked = questions(emulator)
    (catalog,) = (folder / ".cache").rglob("catalog/*.sqlite3")
    assert catalog.stat().st_mode & 0o777 == 0o600
    other = folder / "other"
    other.mkdir()
    with Mount(emulator, other, "--captions", "--cache-dir", str(catalog.parent.parent)) as mount:
        mount.expect_log("skipped the captions of")
        assert {"a.mov.dfxp", "b.mov.vtt"} <= set(os.listdir(mount.path))
        assert (mount / "b.mov.vtt").read_bytes() == VTT
    with Mount(emulator, other, "--cache-dir", str(catalog.parent.parent)) as plain:
        assert not {"a.mov.dfxp", "b.mov.vtt"} & set(os.listdir(plain.path))
    again = questions(emulator) - asked
    assert set(again) <= {asset.embed_code for asset in ASSETS[-2:]}
