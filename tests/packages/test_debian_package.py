# SPDX-License-Identifier: Apache-2.0
"""``make deb``: the same bytes for everybody; installed, used and purged on a bare system."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import backlotfs
from tests.conftest import Serve
from tests.packages.building import ELSEWHERE, HERE, build, clone
from tests.support import commands
from tests.support.commands import ROOT
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.programs import run_program

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]

_FILE = f"backlotfs_{backlotfs.__version__}-1_all.deb"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built once."""
    checkout = clone(tmp_path_factory.mktemp("here") / "checkout")
    assert list(build("debian-package", checkout, HERE)) == [_FILE]
    return checkout / "dist" / _FILE


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with its files."""
    folder = tmp_path_factory.mktemp("unpacked")
    run_program("dpkg-deb", "--extract", package, folder)
    return folder


def test_another_build_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """Of another person, in another folder."""
    again = build("debian-package", clone(tmp_path / "in-another-folder"), ELSEWHERE)
    assert again[_FILE] == package.read_bytes()


def test_the_linter_is_content(package: Path) -> None:
    """Lintian, with all of its pedantry; what is overridden says why."""
    tags = run_program(
        "lintian", "--allow-root", "--info", "--fail-on", "none", package, timeout_s=600.0
    )
    assert tags == ""


def test_its_libraries_are_those_of_the_sbom_and_of_the_copyright(unpacked: Path) -> None:
    """Each in the pinned version, for itself, and without machine code."""
    site = unpacked / "usr/share/backlotfs"
    assert not list(site.rglob("*.so"))
    installed = {
        path.name.removesuffix(".dist-info").lower().replace("_", "-")
        for path in site.glob("*.dist-info")
    }
    sbom = json.loads((unpacked / "usr/share/doc/backlotfs/sbom.cdx.json").read_text())
    assert installed == {
        f"{part['name'].lower()}-{part['version']}"
        for part in [*sbom["components"], sbom["metadata"]["component"]]
    }
    texts = (unpacked / "usr/share/doc/backlotfs/copyright").read_text("utf-8")
    named = set(re.findall(r"^Files: debian/wheels/(\w+)-\*$", texts, re.M))
    bundled = {path.name.split("-")[0] for path in site.glob("*.dist-info")} - {"backlotfs"}
    assert named == bundled


def test_its_units_run_its_program(unpacked: Path) -> None:
    """Nothing in them or in the examples leads to where `make install` puts things."""
    units = [*unpacked.rglob("*.service"), *unpacked.rglob("*.mount")]
    assert len(units) == 3
    for unit in units:
        assert "/usr/local" not in unit.read_text()
    assert "ExecStart=/usr/bin/backlotfs mount" in units[0].read_text()


@pytest.mark.mounted
@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_on_a_bare_system(package: Path, serve: Serve, tmp_path: Path, release: str) -> None:
    """Installed, used as root and as a user, upgraded under a mount, removed and purged."""
    assets = [video("reel.mov", 3 * MIB + 1), video("news.mp4", 70_000)]
    brought = tmp_path / "brought"
    brought.mkdir()
    (brought / _FILE).write_bytes(package.read_bytes())
    commands.write_config(brought / "profiles.toml", serve(*assets))
    digests = [hashlib.sha256(origin_bytes(asset)).hexdigest() for asset in assets]
    names = ["reel.mov", "news.mp4"]
    (brought / "SHA256SUMS").write_text(
        "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    )
    script = brought / "installed-package"
    script.write_bytes((ROOT / ".ci/debian/tests/installed-package").read_bytes())
    script.chmod(0o755)
    done = subprocess.run(
        [
            *(ROOT / ".ci/bare-system", release, brought),
            *("./installed-package", _FILE, "profiles.toml", "SHA256SUMS"),
        ],
        # A file system in memory, where other tests have their files, may allow no devices.
        env={**os.environ, "TMPDIR": "/var/tmp"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.endswith("── All is well\n")
