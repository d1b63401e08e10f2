"""``backlotfs export`` and ``verify`` on a real mount, as a user runs them."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

ASSETS = [
    video("reel.mov", 9 * MIB + 3),
    video("Überblick 100%.mov", 4097),
    video("it's [odd].mov", 70_000),
    video("empty.mov", 0),
]
LARGE = video("large.mov", 40 * MIB)


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
    (copy / "reel.mov").unlink()
    assert backlotfs(tmp_path, "export", mount / "reel.mov", copy).returncode == 0
    assert backlotfs(tmp_path, "verify", copy).returncode == 0


def test_a_killed_export_goes_on_and_never_shows_half_a_file(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """Ctrl-C in the middle of a large file: a part is left, which the next export continues."""
    mount = mounted(serve(LARGE), "--bwlimit", "16M")  # so that it is in the middle for a while
    copy = tmp_path / "copy"
    with (tmp_path / "export.log").open("w") as log:
        process = commands.start("export", mount / "large.mov", copy, home=tmp_path, log=log)
        wait_until(
            lambda: any(part.stat().st_size > 4 * MIB for part in copy.glob(".backlotfs-*.part")),
            "some of the file",
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert not (copy / "large.mov").exists()
    (part,) = copy.glob(".backlotfs-*.part")
    note = json.loads(part.with_suffix(".checkpoint").read_text())
    assert 4 * MIB < note["length_bytes"] == part.stat().st_size < 40 * MIB
    inode = part.stat().st_ino
    done = backlotfs(tmp_path, "export", mount / "large.mov", copy)
    assert done.returncode == 0, done.stderr
    assert (copy / "large.mov").stat().st_ino == inode, "it was begun again"
    assert sorted(path.name for path in copy.iterdir()) == ["MANIFEST.sha256", "large.mov"]
    assert backlotfs(tmp_path, "verify", copy).returncode == 0


def test_a_destination_on_the_mount_is_refused(mount: Mount, tmp_path: Path) -> None:
    """It is read-only, which is said in a sentence."""
    done = backlotfs(tmp_path, "export", mount / "empty.mov", mount / "copy")
    assert done.returncode == 2
    assert "cannot write to" in done.stderr
