# SPDX-License-Identifier: Apache-2.0
"""``make dist``: the same bytes for everybody, complete, and described by its SBOM."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import backlotfs
from tests.packages.building import ELSEWHERE, HERE, build, clone
from tests.support.commands import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]

_NAME = f"backlotfs-{backlotfs.__version__}"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of dist/, by name."""
    return build("distribution", clone(tmp_path_factory.mktemp("here") / "checkout"), HERE)


def committed() -> list[str]:
    """The files of the last commit."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.rstrip("\0").split("\0")


def test_another_build_gives_the_same_bytes(released: dict[str, bytes], tmp_path: Path) -> None:
    """Of another person, in another folder with files that nobody committed."""
    checkout = clone(tmp_path / "in-another-folder")
    (checkout / "backlotfs" / "scratch.py").write_text("SECRET = 1\n")
    assert build("distribution", checkout, ELSEWHERE) == released


def test_what_is_there(released: dict[str, bytes]) -> None:
    """Wheel, sdist, SBOM, notes, and the checksums of all of them."""
    files = {
        f"{_NAME}-py3-none-any.whl",
        f"{_NAME}.tar.gz",
        f"{_NAME}.cdx.json",
        f"{_NAME}.notes.md",
    }
    assert set(released) == {*files, "SHA256SUMS"}
    sums = {hashlib.sha256(released[name]).hexdigest() + "  " + name for name in files}
    assert set(released["SHA256SUMS"].decode().splitlines()) == sums


def test_the_wheel_is_the_package_with_its_units(released: dict[str, bytes]) -> None:
    """Every committed file of it, the units of systemd, the licence, the commands; nothing else."""
    data = f"{_NAME}.data/data"
    places = {  # of a folder in the checkout, the longer first
        "systemd/user": f"{data}/lib/systemd/user",
        "systemd": f"{data}/lib/systemd/system",
    }
    expected = {name: name for name in committed() if name.startswith("backlotfs/")}
    for name in committed():
        if name.startswith("systemd/") and name.endswith(".service"):
            folder = next(folder for folder in places if name.startswith(f"{folder}/"))
            expected[name.replace(folder, places[folder], 1)] = name
    with zipfile.ZipFile(io.BytesIO(released[f"{_NAME}-py3-none-any.whl"])) as wheel:
        names = wheel.namelist()
        commands = wheel.read(f"{_NAME}.dist-info/entry_points.txt").decode()
        content = [name for name in names if not name.startswith(f"{_NAME}.dist-info/")]
        assert sorted(content) == sorted(expected)
        for name, source in expected.items():
            assert wheel.read(name) == (ROOT / source).read_bytes()
    assert f"{_NAME}.dist-info/licenses/LICENSE" in names
    assert "mount.fuse.backlotfs = backlotfs.cli.mount_helper:main" in commands


def test_the_sdist_is_the_commit(released: dict[str, bytes]) -> None:
    """So its tests run and its packages can be built from it."""
    with tarfile.open(fileobj=io.BytesIO(released[f"{_NAME}.tar.gz"])) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert set(committed()) == names - {"PKG-INFO"}


def test_the_sbom_names_what_is_installed(released: dict[str, bytes]) -> None:
    """The program with its version, and each library in the version of .ci/requirements.txt."""
    sbom = json.loads(released[f"{_NAME}.cdx.json"])
    root = sbom["metadata"]["component"]
    assert (root["name"], root["version"]) == ("backlotfs", backlotfs.__version__)
    found = {f"{part['name'].lower()}=={part['version']}" for part in sbom["components"]}
    pinned = (ROOT / ".ci" / "requirements.txt").read_text().splitlines()
    assert found == {line.split()[0] for line in pinned if line[:1].isalpha()}
    assert all(part["licenses"] for part in sbom["components"])
    # No folder of the machine that made it.
    assert b"/tmp/" not in released[f"{_NAME}.cdx.json"]
    assert b"file:" not in released[f"{_NAME}.cdx.json"]


def test_the_notes_are_the_section_of_the_changelog(released: dict[str, bytes]) -> None:
    """With its headings, and every item on one line, as a forge shows a line end as one."""
    notes = released[f"{_NAME}.notes.md"].decode()
    assert notes.startswith(f"# backlotfs {backlotfs.__version__}\n")
    assert "\n## Reading\n" in notes
    assert not [line for line in notes.splitlines() if line.startswith(" ")]
