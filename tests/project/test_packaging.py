# SPDX-License-Identifier: Apache-2.0
"""What a user installs: metadata, entry point, changelog, licence."""

from __future__ import annotations

import importlib
import re
import tomllib

from packaging.requirements import Requirement

import backlotfs
from tests.project.source_tree import ROOT

MANIFESTS = ("docs/container/daemonset.yaml", "docs/container/sidecar.yaml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_in_the_changelog() -> None:
    """Nothing is released that the changelog does not tell of."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert backlotfs.__version__ in headings


def test_the_version_has_one_source() -> None:
    """The build reads it from the package."""
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "backlotfs/__init__.py"


def test_the_addresses_are_those_of_this_name() -> None:
    """The page in the index needs no change when the first release is uploaded."""
    project = PROJECT["project"]
    assert project["urls"]["Homepage"] == f"https://pypi.org/project/{project['name']}/"


def test_the_entry_points_exist() -> None:
    """Each installed command names a function."""
    for target in PROJECT["project"]["scripts"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_wheel_holds_the_whole_package_and_the_units() -> None:
    """The folder is taken as it is, so ``py.typed`` goes with it and nothing is left out."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel.keys() == {"packages", "shared-data"}
    assert wheel["packages"] == ["backlotfs"]
    units = set((ROOT / "systemd").rglob("*.service"))
    assert units <= {ROOT / source for source in wheel["shared-data"]}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert not any("typed" in pattern for pattern in ignored)


def test_the_pinned_libraries_are_those_that_the_project_asks_for() -> None:
    """Each dependency is in .ci/requirements.txt with checksums, in a version that fits."""
    text = (ROOT / ".ci" / "requirements.txt").read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:", text, re.M))
    assert len(pins) == len(re.findall(r"^[a-z]", text, re.M))
    for wanted in map(Requirement, PROJECT["project"]["dependencies"]):
        assert wanted.specifier.contains(pins[wanted.name]), wanted


def test_what_is_written_for_one_version_is_for_this_one() -> None:
    """The documents name the files and the image of the version that they come with."""
    version = backlotfs.__version__
    for name in ("docs/packages.md", "docs/how-to/kubernetes.md", *MANIFESTS):
        text = (ROOT / name).read_text("utf-8")
        named = re.findall(r"backlotfs(?:_|:)(\d+\.\d+\.\d+)", text)
        assert set(named) == {version}, name


def test_the_debian_package_asks_for_the_same_python() -> None:
    """And has every field that a build needs."""
    control = (ROOT / ".ci" / "debian" / "control").read_text()
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert control.count(f"python3 (>= {oldest})") == 2
    assert "Architecture: all" in control


def test_the_licence_is_the_one_named() -> None:
    """The Apache License 2.0, whole."""
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"  # SPDX
    assert PROJECT["project"]["license-files"] == ["LICENSE"]
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
