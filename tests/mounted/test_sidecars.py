# SPDX-License-Identifier: Apache-2.0
"""``--sidecars`` on a real mount: what programs see beside the sources."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedLabel, Emulator, Fault
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount, held_open
from tests.support.programs import run_program
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

RACING = EmulatedLabel("2" * 32, "Racing")
FILM = video(
    "Fluß.mov",
    2 * MIB,
    title="Überschwemmung",
    metadata={"shoot": "7"},
    label_ids=(RACING.label_id,),
)
ASSETS = [
    FILM,
    video("b.mp4", 70_000),
    video("b.mp4.json", b"a source", tag="called so", description="Long." * 50),
]
NAMES = ["Fluß.mov", "Fluß.mov.json", "b.mp4", "b.mp4.json", "b.mp4.json.json"]


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The library."""
    emulator = serve(*ASSETS)
    emulator.library.put_label(RACING)
    return emulator


@pytest.fixture(scope="module")
def beside(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount of it with sidecars, by ``-o``, as fstab would ask for them."""
    with Mount(emulator, tmp_path_factory.mktemp("sidecars"), "-o", "sidecars") as mount:
        yield mount


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_a_mapping(beside: Mount, flags: int) -> None:
    """Of the bytes that a read gives."""
    with (beside / "Fluß.mov.json").open("rb") as file:
        said = file.read()
        with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == said


_LISTS_WHILE_MAPPED = """
import mmap, os, sys
folder, name = sys.argv[1:]
with open(f"{folder}/{name}", "rb") as file:
    said = file.read()
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == said
        for _ in range(3):
            os.listdir(folder)
            assert name in {entry.name for entry in os.scandir(folder) if entry.stat()}
        assert mapped[:] == said
"""


def test_a_listing_does_not_cut_a_mapping(beside: Mount) -> None:
    """Of a file whose size is not known until somebody asks: the program would get SIGBUS."""
    program = (sys.executable, "-c", _LISTS_WHILE_MAPPED, str(beside.path), "Fluß.mov.json")
    assert subprocess.run(program, timeout=60, check=False).returncode == 0


def test_they_say_what_the_library_says(beside: Mount) -> None:
    """Listed beside the sources; a source that is called so is the source."""
    assert sorted(os.listdir(beside.path)) == NAMES
    (beside / "Fluß.mov").stat()  # from here on its size is known
    facts = json.loads((beside / "Fluß.mov.json").read_text("utf-8"))
    assert (facts["title"], facts["metadata"]) == ("Überschwemmung", {"shoot": "7"})
    assert [label["full_name"] for label in facts["labels"]] == ["/Racing"]
    assert facts["source"]["size"] == 2 * MIB
    assert (beside / "b.mp4.json").read_bytes() == b"a source"


def test_sizes_are_what_is_read(beside: Mount) -> None:
    """Of every file, by stat before and after."""
    for name in NAMES:
        (beside / name).stat()
    _wait_until_sizes_are_settled(beside)
    for name in NAMES:
        path = beside / name
        assert len(path.read_bytes()) == path.stat().st_size, name


def test_rsync_twice(beside: Mount, tmp_path: Path) -> None:
    """The second run has nothing to do."""
    _wait_until_sizes_are_settled(beside)
    command = ("rsync", "-a", "--itemize-changes", f"{beside.path}/", f"{tmp_path}/copy/")
    assert run_program(*command).count(">f+++++++++") == len(NAMES)
    assert run_program(*command) == ""
    assert run_program(*command, "--checksum") == ""


def test_our_own_commands_take_them_as_files(beside: Mount, tmp_path: Path) -> None:
    """``export`` copies and verifies them, ``warm`` and ``pin`` have nothing to do for them."""
    _wait_until_sizes_are_settled(beside)
    done = commands.run("export", f"{beside.path}/", tmp_path / "copy", home=beside.folder)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "Fluß.mov.json").read_bytes() == (
        beside / "Fluß.mov.json"
    ).read_bytes()
    for command in ("warm", "pin"):
        done = commands.run(command, beside.path, home=beside.folder, timeout_s=60)
        assert done.returncode == 0, done.stderr
    pinned = {path for file in ask(beside.path, "pins")["files"] for path in file["paths"]}
    assert "/Fluß.mov" in pinned
    assert "/Fluß.mov.json" not in pinned


def test_an_edited_title(emulator: Emulator, beside: Mount) -> None:
    """A new file with a new time; who has the old one open goes on reading the old one."""
    path = beside / "Fluß.mov.json"
    before = path.stat()
    with held_open(path) as descriptor:
        old = os.pread(descriptor, 10, 0)
        emulator.library.edit(FILM.embed_code, title="Ein anderer, längerer Titel")
        done = commands.run("refresh", beside.path, home=beside.folder)
        assert done.returncode == 0, done.stderr
        wait_until(
            lambda: json.loads(path.read_bytes())["title"] == "Ein anderer, längerer Titel",
            "the new title",
            timeout_s=90,
        )
        old += os.pread(descriptor, 1 << 20, 10)
    assert json.loads(old)["title"] == "Überschwemmung"
    wait_until(lambda: path.stat().st_size == len(path.read_bytes()), "the new size", timeout_s=90)
    assert path.stat().st_mtime > before.st_mtime
    assert path.stat().st_ino == before.st_ino


_KEEPS = """
import mmap, os, sys
with open(sys.argv[1], "rb") as file:
    said, before = file.read(), os.fstat(file.fileno())
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        print("open", flush=True)
        sys.stdin.read()
        assert os.fstat(file.fileno()) == before
        assert os.pread(file.fileno(), 1 << 20, 0) == said == mapped[:]
"""


def test_who_has_one_open_keeps_it(emulator: Emulator, beside: Mount) -> None:
    """Size, bytes and mapping, while it gets shorter, is opened by others, and goes."""
    path = beside / "b.mp4.json.json"
    _wait_until_sizes_are_settled(beside)
    before = len(path.read_bytes())
    with (
        path.open("rb") as file,
        subprocess.Popen(
            (sys.executable, "-c", _KEEPS, str(path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as program,
    ):
        assert program.stdout is not None
        assert program.stdout.readline() == b"open\n"
        emulator.library.edit(ASSETS[2].embed_code, description=None)
        beside.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(path.read_bytes()) < before, "the shorter one")
        wait_until(lambda: path.stat().st_size < before, "its size")
        assert os.listxattr(file.fileno()) == os.listxattr(path)
        emulator.library.delete(ASSETS[2].embed_code)
        beside.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not path.exists(), "its end")
        program.communicate(timeout=90)
    assert program.returncode == 0


def test_no_sidecar_waits_for_the_network(serve: Serve, mounted: MountIt) -> None:
    """With an API that answers no question about sources, all of them can be listed and read."""
    emulator = serve(*(video(f"{number}.mov", 1000) for number in range(20)))
    for route in ("streams", "source_file_info"):
        emulator.faults.add(Fault.stall(), route=route)
    mount = mounted(emulator, "--sidecars", "--stat-timeout", "1s")
    found = sorted(path for path in mount.path.iterdir() if path.suffix == ".json")
    assert len(found) == 20
    for path in found:
        content = path.read_bytes()
        assert len(content) == path.stat().st_size
        assert json.loads(content)["source"] is None
    assert ended_requests(emulator, route="source") == []
    emulator.faults.clear()


def _wait_until_sizes_are_settled(mount: Mount) -> None:
    """Until the kernel knows no sidecar any more as it was before its source was probed."""
    sidecars = [mount / name for name in NAMES if name.endswith(".json")]

    def settled() -> bool:
        return all(path.stat().st_size == len(path.read_bytes()) for path in sidecars)

    for name in NAMES:
        (mount / name).stat()
    wait_until(settled, "the sizes of the sidecars", timeout_s=90)
