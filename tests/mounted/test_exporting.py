# SPDX-License-Identifier: Apache-2.0
"""``backlotfs export`` and ``verify`` on a real mount, as a user runs them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import Fault
from backlotfs.export.destination import WORKSPACE
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import bytes_sent

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 9 * MIB + 3)
ASSETS = [
    REEL,
    video("Überblick 100%.mov", 4097),
    video("it's [odd].mov", 70_000),
    video("empty.mov", 0),
]
LARGE = video("large.mov", 40 * MIB)
PARTS = f"{WORKSPACE}/*.part"


@pytest.fixture(scope="module")
def mount(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """The library, for all tests here."""
    with Mount(serve(*ASSETS), tmp_path_factory.mktemp("export")) as mount:
        yield mount


def backlotfs(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return commands.run(*arguments, home=home, timeout_s=60)


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What it printed with ``--json``."""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def small_files(mount: Mount) -> list[Path]:
    """All but the large one."""
    return [mount.file_of(asset) for asset in ASSETS]


def test_a_library_is_exported_verified_and_not_copied_twice(mount: Mount, tmp_path: Path) -> None:
    """The origin's bytes and times, a manifest that sha256sum accepts, then nothing to do."""
    copy, files = tmp_path / "copy", small_files(mount)
    done = backlotfs(tmp_path, "export", "--json", *files, copy)
    assert done.returncode == 0, done.stderr
    assert report(done)["copied"] == len(ASSETS)
    for asset in ASSETS:
        path = mount.file_of(asset)
        assert_same_bytes(copy / path.name, asset)
        assert (copy / path.name).stat().st_mtime_ns == path.stat().st_mtime_ns
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "MANIFEST.sha256"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip  # one program's arguments
    assert checked.returncode == 0, checked.stderr
    sources = [word for path in files for word in ("--source", str(path))]
    verified = backlotfs(tmp_path, "verify", copy, *sources)
    assert verified.returncode == 0, verified.stderr
    again = report(backlotfs(tmp_path, "export", "--json", *files, copy))
    assert (again["copied"], again["unchanged"]) == (0, len(ASSETS))


def test_a_damaged_copy_is_found_and_mended(mount: Mount, tmp_path: Path) -> None:
    """One bit, with size and time as they were; ``verify`` says which, and what to do."""
    copy = tmp_path / "copy"
    assert backlotfs(tmp_path, "export", mount / "reel.mov", copy).returncode == 0
    with (copy / "reel.mov").open("r+b") as file:
        file.seek(5 * MIB)
        byte = file.read(1)
        file.seek(5 * MIB)
        file.write(bytes([byte[0] ^ 1]))
    verified = backlotfs(tmp_path, "verify", copy)
    assert verified.returncode == 1
    assert "reel.mov: does not have the bytes of the manifest" in verified.stderr
    status = (mount / "reel.mov").stat()
    os.utime(copy / "reel.mov", ns=(status.st_mtime_ns, status.st_mtime_ns))
    unread = backlotfs(tmp_path, "export", mount / "reel.mov", copy)
    assert "1 unchanged (size and time)" in unread.stdout
    assert backlotfs(tmp_path, "verify", copy).returncode == 1
    assert backlotfs(tmp_path, "export", "--checksum", mount / "reel.mov", copy).returncode == 0
    assert backlotfs(tmp_path, "verify", copy).returncode == 0
    assert_same_bytes(copy / "reel.mov", REEL)


def test_a_killed_export_goes_on_and_never_shows_half_a_file(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """Ctrl-C in the middle of a large file: a part is left, which the next export continues."""
    mount = mounted(serve(LARGE), "--bwlimit", "16M")  # so that it is in the middle for a while
    copy = tmp_path / "copy"
    with (tmp_path / "export.log").open("w") as log:
        process = commands.start("export", mount / "large.mov", copy, home=tmp_path, log=log)
        wait_until(
            lambda: any(part.stat().st_size > 4 * MIB for part in copy.glob(PARTS)),
            "some of the file",
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    said = (tmp_path / "export.log").read_text()
    assert "stopped: 0 of 1 file complete; run the same command again to continue" in said
    assert not (copy / "large.mov").exists()
    (part,) = copy.glob(PARTS)
    note = json.loads(part.with_suffix(".checkpoint").read_text())
    assert 4 * MIB < note["length_bytes"] == part.stat().st_size < 40 * MIB
    inode = part.stat().st_ino
    done = backlotfs(tmp_path, "export", mount / "large.mov", copy)
    assert done.returncode == 0, done.stderr
    assert (copy / "large.mov").stat().st_ino == inode, "it was begun again"
    assert "backlotfs: continued: " in done.stderr
    assert sorted(path.name for path in copy.iterdir()) == ["MANIFEST.sha256", "large.mov"]
    assert backlotfs(tmp_path, "verify", copy).returncode == 0


def test_status_names_a_running_export(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Its bytes do not come through the mount, so nothing else would show it; then it is gone."""
    mount = mounted(serve(LARGE), "--bwlimit", "1M")  # so that it runs for a while

    def exports() -> list[dict[str, int]]:
        answer = report(backlotfs(tmp_path, "status", "--json", mount.path))
        found: list[dict[str, int]] = answer["exports"]
        return found

    with (tmp_path / "export.log").open("w") as log:
        process = commands.start(
            "export", mount / "large.mov", tmp_path / "copy", home=tmp_path, log=log
        )
        wait_until(lambda: any(one["bytes"] for one in exports()), "the export in status")
        said = backlotfs(tmp_path, "status", mount.path).stdout
        assert f"\nexport         pid {process.pid}: 0 of 1 file, " in said
        process.kill()
        process.wait(30)
    assert exports() == []


def test_a_destination_on_the_mount_is_refused(mount: Mount, tmp_path: Path) -> None:
    """It is read-only, which is said in a sentence."""
    done = backlotfs(tmp_path, "export", mount / "empty.mov", mount / "copy")
    assert done.returncode == 2
    assert "cannot write to" in done.stderr


def test_assets_named_as_our_own_files(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Each is copied with its own bytes, or is a failed file with a reason; none is lost."""
    key = hashlib.sha256(b"reel.mov").hexdigest()
    names = [
        "reel.mov", f".backlotfs-{key[:24]}.part", f".backlotfs-{key[:24]}.checkpoint",
        f"{key}.part", f"{key}.checkpoint", "MANIFEST.sha256.new", "journal", "manifest",
    ]  # fmt: skip  # a list
    assets = [video(name, 10_000 + len(name)) for name in [*names, "MANIFEST.sha256", WORKSPACE]]
    mount = mounted(serve(*assets))
    copy = tmp_path / "copy"
    done = backlotfs(tmp_path, "export", "--json", f"{mount.path}/", copy)
    assert done.returncode == 1, done.stderr
    states = {file["name"]: file["state"] for file in report(done)["files"]}
    kept = dict.fromkeys(("MANIFEST.sha256", WORKSPACE), "failed")
    assert states == dict.fromkeys(names, "copied") | kept
    for asset, name in zip(assets, names, strict=False):
        assert_same_bytes(copy / name, asset)
    assert backlotfs(tmp_path, "verify", copy).returncode == 0
    whole = backlotfs(tmp_path, "export", mount.path, tmp_path / "second")
    assert whole.returncode == 0, whole.stderr
    for asset in assets:
        name = mount.file_of(asset).name
        assert_same_bytes(tmp_path / "second" / mount.path.name / name, asset)


def test_folders_swapped_for_links_while_it_runs(mount: Mount, tmp_path: Path) -> None:
    """Again and again: nothing lands where the link leads, and what counts is in DEST."""
    copy, outside = tmp_path / "copy", tmp_path / "outside"
    outside.mkdir()
    folder, aside = copy / mount.path.name, copy / "aside"
    folder.mkdir(parents=True)
    with (tmp_path / "export.log").open("w") as log:
        process = commands.start("export", "--json", mount.path, copy, home=tmp_path, log=log)
        while process.poll() is None:
            with contextlib.suppress(OSError):  # the export may make the folder again meanwhile
                folder.rename(aside)
                folder.symlink_to(outside)
            time.sleep(0.005)
            with contextlib.suppress(OSError):
                folder.unlink()
                aside.rename(folder)
            time.sleep(0.005)
    said = (tmp_path / "export.log").read_text()
    assert process.returncode in (0, 1), said
    assert list(outside.iterdir()) == []
    (result,) = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    copied = {Path(file["name"]).name for file in result["files"] if file["state"] == "copied"}
    for asset in ASSETS:
        places = [place / mount.file_of(asset).name for place in (folder, aside)]
        found = [path for path in places if path.exists()]
        assert found or places[0].name not in copied
        for path in found:
            assert_same_bytes(path, asset)


def read_bytes(mount: Mount) -> int:
    """What programs read through the mount."""
    asked: int = ask(mount.path, "stats")["reads"]["asked_bytes"]
    return asked


def exported(mount: Mount, folder: Path) -> int:
    """Export all; check every byte. What was read through the mount for it."""
    before = read_bytes(mount)
    done = backlotfs(folder, "export", f"{mount.path}/", folder / "copy")
    assert done.returncode == 0, done.stderr
    for asset in (REEL, LARGE):
        assert_same_bytes(folder / "copy" / mount.file_of(asset).name, asset)
    assert backlotfs(folder, "verify", folder / "copy").returncode == 0
    return read_bytes(mount) - before


def test_bytes_come_from_the_host_without_the_kernel(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """The mount gives versions and URLs, and nothing is read through it."""
    mount = mounted(serve(REEL, LARGE))
    assert exported(mount, tmp_path) == 0


def test_cached_files_are_read_through_the_mount(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """What the mount has is not fetched again."""
    emulator = serve(REEL, LARGE)
    mount = mounted(emulator)
    mount.file_of(REEL).read_bytes()
    before = bytes_sent(emulator, REEL)
    exported(mount, tmp_path)
    assert bytes_sent(emulator, REEL) == before


def test_a_bandwidth_limit_holds_for_exports(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """All is read through the mount, which has the limit."""
    mount = mounted(serve(REEL, LARGE), "--bwlimit", "100M")
    assert exported(mount, tmp_path) >= 49 * MIB


def test_urls_that_expire_are_renewed_by_the_mount(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """Refused by the host: the mount is asked for another, and reads nothing itself."""
    emulator = serve(REEL, LARGE)
    mount = mounted(emulator)
    for asset in (REEL, LARGE):
        mount.file_of(asset).stat()
    emulator.expire_urls()
    assert exported(mount, tmp_path) == 0


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Fault.short_body(1_000_000), 20),
        (Fault.of("access_denied"), 5),
        pytest.param(Fault.of("slow_down"), 10, marks=pytest.mark.long),
        pytest.param(Fault.reset(1_000_000), 20, marks=pytest.mark.long),
        pytest.param(Fault.wrong_range(), 5, marks=pytest.mark.long),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_trouble_of_the_host_passes(
    serve: Serve, mounted: MountIt, tmp_path: Path, fault: Fault, times: int
) -> None:
    """The bytes are right in the end."""
    emulator = serve(REEL, LARGE)
    mount = mounted(emulator)
    for asset in (REEL, LARGE):
        mount.file_of(asset).stat()
    emulator.faults.add(fault, route="source", times=times)
    exported(mount, tmp_path)
