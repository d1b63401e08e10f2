# SPDX-License-Identifier: Apache-2.0
"""The commands of the checkout: make targets and the scripts they run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

import backlotfs
from tests.__main__ import (
    CORE_MODULES,
    DESKTOP_TESTS,
    desktop_steps,
    lint_steps,
    long_steps,
    parse,
    suite_steps,
    workers,
)
from tests.project.source_tree import ROOT

SCRIPTS = sorted(
    path
    for folder in (".ci", ".ci/debian/tests")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and not path.suffix
)


def run(command: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished command, with the environment it is given and no other."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_parse_and_can_be_run(script: Path) -> None:
    """By the shell that their first line names."""
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
    checked = run([f"/bin/{shell}", "-n", script])
    assert checked.returncode == 0, checked.stderr
    assert script.stat().st_mode & 0o111 == 0o111


def test_ci_runs_what_contributors_run() -> None:
    """A contributor who ran these three has run what CI runs."""
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall("^make (\\S+)", script, re.MULTILINE) == ["test", "test-long", "test-desktop"]


@pytest.mark.parametrize(
    "target",
    [
        *(
            "demo",
            "test",
            "test-long",
            "test-desktop",
            "test-bare",
            "lint",
            "venv",
            "clean",
            "help",
        ),
        *("install", "uninstall", "dist", "deb"),
        *(
            "crash",
            "soak",
            "fuzz",
            "bench",
            "bench-metadata",
            "bench-credits",
            "manual",
            "docs",
            "screenshot",
        ),
    ],
)
def test_make_knows_its_targets(target: str) -> None:
    """Each target expands."""
    expanded = run(["make", "--dry-run", target], PATH="/usr/bin:/bin")
    assert expanded.returncode == 0, expanded.stderr


@pytest.mark.parametrize("release", [(), ("",), ("sid",)], ids=["none", "empty", "unknown"])
def test_a_bare_system_of_another_release_is_refused(release: tuple[str, ...]) -> None:
    """Before anything is made, with the releases that can be chosen."""
    refused = run([ROOT / ".ci" / "bare-system", *release], PATH="/usr/bin:/bin")
    assert refused.returncode == 1
    assert "RELEASE=bookworm, or RELEASE=trixie" in refused.stderr


def test_release_notes_are_a_section_of_the_changelog() -> None:
    """Each item is one line, as forges show a line end as one; a version without a section ends."""
    notes = run([ROOT / ".ci" / "release-notes"], PATH="/usr/bin:/bin").stdout
    assert notes.startswith(f"# backlotfs {backlotfs.__version__}\n\n")
    assert "\n## Reading\n" in notes
    assert not re.findall(r"^ +\S", notes, re.M)
    refused = run([ROOT / ".ci" / "release-notes", "99.0"], PATH="/usr/bin:/bin")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no section [99.0]" in refused.stderr


def test_a_missing_python_is_said() -> None:
    """In a sentence that names the remedy, before anything is installed."""
    refused = run([ROOT / ".ci" / "system-packages", "test"], PATH="/usr/bin:/bin", PYTHON="py404")
    assert refused.returncode == 1
    assert "There is no py404 here" in refused.stderr


def test_an_old_python_is_said(tmp_path: Path) -> None:
    """Its version and the oldest that would do."""
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    refused = run([ROOT / ".ci" / "system-packages", "demo"], PATH="/usr/bin:/bin", PYTHON=str(old))
    assert refused.returncode == 1
    assert "needs Python 3.11" in refused.stderr
    assert "3.9.2" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide the device")
def test_a_missing_device_is_said_before_anything_is_installed() -> None:
    """A demo cannot do without it."""
    hidden = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec .ci/system-packages"
    refused = run(["unshare", "--mount", "sh", "-c", f"{hidden} demo"], PATH=os.environ["PATH"])
    assert refused.returncode == 5
    assert refused.stderr.startswith("/dev/fuse is missing; load the module: sudo modprobe fuse;")


@pytest.mark.parametrize(
    ("purpose", "packages"),
    [
        ("install", "python3-venv fuse3"),
        ("demo", "python3-venv fuse3 rsync"),
        ("test", "python3-venv fuse3 libfuse2 rsync ffmpeg attr mandoc systemd"),
        ("deb", "python3-venv dpkg-dev debhelper dh-python"),
    ],
)
def test_missing_packages_without_a_way_to_install_are_named(
    tmp_path: Path, purpose: str, packages: str
) -> None:
    """On a system without apt the reader gets the names, and nothing is tried."""
    # What makes a package is the system's Python, which no path hides.
    if (
        purpose == "deb"
        and run(["/bin/sh", "-c", "/usr/bin/python3 -c 'import xxhash'"]).returncode
    ):
        packages += " python3 python3-xxhash"
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *version_info*) exit 0 ;; *) exit 1 ;; esac\n')
    bare.chmod(0o755)
    refused = run([ROOT / ".ci" / "system-packages", purpose], PATH=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.endswith(f"try again: {packages}\n")


def test_what_a_desktop_needs_is_not_installed_by_make_test() -> None:
    """Its packages are a purpose of their own, and a server among them."""
    script = (ROOT / ".ci" / "system-packages").read_text()
    blocks = re.findall(r"^if (.*= desktop \].*); then\n((?:    .*\n)+?)fi\n", script, re.MULTILINE)
    wanted = "".join(block for purposes, block in blocks if "= test ]" not in purposes)
    assert {"xvfb", "samba", "mpv"} <= set(re.findall(r"want (\S+)", wanted))


def test_only_make_test_desktop_collects_its_tests(request: pytest.FixtureRequest) -> None:
    """They exist, and a run that does not name them has none of them."""
    assert list((ROOT / DESKTOP_TESTS).glob("test_*.py"))
    assert [step.arguments[0] for step in desktop_steps([])] == [DESKTOP_TESTS]
    named = any(DESKTOP_TESTS in argument for argument in request.config.args)
    collected = [
        item.nodeid for item in request.session.items if item.get_closest_marker("desktop")
    ]
    assert named or collected == []


@pytest.mark.parametrize("path", ["relative", "/with space", "/a|b"])
def test_an_installation_has_a_plain_place(path: str) -> None:
    """The place is written into scripts and units, which have their own ideas of quoting."""
    refused = run([ROOT / ".ci" / "installation", "install"], PATH="/usr/bin:/bin", PREFIX=path)
    assert refused.returncode == 1
    assert path in refused.stderr


def test_arguments_after_two_dashes_are_pytests() -> None:
    """A chosen few tests are run alone."""
    options, pytest_arguments = parse(["--fast", "--", "-k", "name"])
    assert options.fast
    steps = suite_steps(pytest_arguments, fast=True)
    assert [step.name for step in steps] == ["tests"]
    assert steps[0].arguments[-4:] == ("-m", "not mounted and not long", "-k", "name")


def test_all_tests_run_side_by_side_and_chosen_ones_alone() -> None:
    """A debugger needs the one process; mounts that a file shares need the one worker."""
    alone = suite_steps(["-x"], fast=False)[0].arguments
    assert alone == ("-x",)
    together = suite_steps([], fast=False)[0].arguments
    assert "--dist=loadfile" in together
    assert f"--numprocesses={workers()}" in together
    assert 2 <= workers() <= 4


def test_the_steps_stand_in_their_order() -> None:
    """Cheap ones first; coverage is counted before its gates look at it."""
    steps = [*lint_steps(fix=False), *suite_steps([], fast=False)]
    assert [step.name for step in steps] == ["format", "lint", "types", "tests"]
    names = [step.name for step in long_steps()]
    assert names.index("tests under coverage") < names.index("coverage")
    assert names.index("coverage") < names.index("coverage of the core")


def test_the_core_exists() -> None:
    """A gate over a folder that was renamed would hold nothing."""
    for pattern in CORE_MODULES:
        assert list(ROOT.glob(pattern)), pattern
