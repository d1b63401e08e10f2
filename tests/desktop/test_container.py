# SPDX-License-Identifier: Apache-2.0
"""The recipe of a container: linted, and what it says is tried as far as that goes without one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from backlotfs.cli.mount import mount as mount_command
from tests.conftest import Serve
from tests.project.source_tree import ROOT
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import video
from tests.support.mounting import is_mounted, shared_mount
from tests.support.programs import run_program

pytestmark = pytest.mark.desktop("unshare", "mount")

_FOLDER = ROOT / "docs" / "container"
_RECIPE = _FOLDER / "Containerfile"


def instructions(name: str) -> list[str]:
    """The arguments of each instruction of this name, lines joined."""
    text = re.sub(r"\\\n\s*", "", _RECIPE.read_text("utf-8"))
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def test_the_linter_is_content() -> None:
    """hadolint, which has shellcheck for the RUN lines; all but one of its rules."""
    linter = Path(sys.executable).with_name("hadolint")
    assert linter.exists(), "hadolint is missing: make test-desktop installs it"
    # Versions of Debian's packages are not pinned: the archive keeps only the latest.
    found = subprocess.run(
        [linter, "--no-color", "--ignore", "DL3008", _RECIPE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_it_runs_a_command_that_there_is() -> None:
    """ENTRYPOINT and CMD are one of ours, with options that it knows."""
    [entry], [words] = instructions("ENTRYPOINT"), instructions("CMD")
    assert json.loads(entry) == ["backlotfs"]
    verb, *options = json.loads(words)
    assert verb == "mount"
    parameters = mount_command.make_context("mount", options).params
    assert parameters["foreground"]
    assert parameters["allow_other"]
    assert (str(parameters["config"]), str(parameters["cache_dir"])) == (
        "/run/secrets/backlotfs.toml",
        "/cache",
    )


def test_it_installs_what_a_mount_needs() -> None:
    """What `make install` asks of apt for a mount; the fresh system of the image has nothing."""
    last = instructions("RUN")[-1]
    packages = last.partition("--no-install-recommends")[2].split("&&")[0].split()
    assert set(packages) == {"ca-certificates", "fuse3", "python3"}


def test_what_is_copied_is_enough_to_install(tmp_path: Path) -> None:
    """The files of its COPY lines alone make a wheel."""
    for line in instructions("COPY"):
        *sources, target = line.split()
        if not sources[0].startswith("--from"):
            for source in sources:
                place = tmp_path / target.strip("/")
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place)
                else:
                    place.mkdir(exist_ok=True)
                    shutil.copy(ROOT / source, place)
    run_program(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"),
        *("--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels"),
        tmp_path / "src",
        timeout_s=100,
    )
    assert [wheel.name[:9] for wheel in (tmp_path / "wheels").iterdir()] == ["backlotfs"]


def test_the_compose_file_fits_the_recipe() -> None:
    """Device and right for FUSE, the secret and the cache where the recipe has them."""
    compose = yaml.safe_load((_FOLDER / "compose.yaml").read_text("utf-8"))
    library = compose["services"]["library"]
    assert (_FOLDER / library["build"]["context"]).resolve() == ROOT
    assert ROOT / library["build"]["dockerfile"] == _RECIPE
    assert library["devices"] == ["/dev/fuse"]
    assert library["cap_add"] == ["SYS_ADMIN"]
    place = json.loads(instructions("CMD")[0])[-1]
    [shared] = [volume for volume in library["volumes"] if isinstance(volume, dict)]
    assert shared["bind"]["propagation"] == "rshared"
    assert Path(place).parent == Path(shared["target"])
    assert f"/run/secrets/{library['secrets'][0]}" in instructions("CMD")[0]
    assert f"cache:{instructions('VOLUME')[0]}" in library["volumes"]
    [seen] = compose["services"]["player"]["volumes"]
    assert (seen["source"], seen["bind"]["propagation"]) == (shared["source"], "rslave")


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder on a mount of its own, which is shared, as a container's ``rshared`` has it."""
    if os.geteuid() != 0:
        pytest.skip("only root makes mount namespaces like a container engine's")
    with shared_mount() as folder:
        yield folder


@pytest.mark.mounted
def test_a_mount_in_a_namespace_of_its_own_is_seen_outside(
    serve: Serve, shared_folder: Path, tmp_path: Path
) -> None:
    """By the host, and by a container that is its slave; after SIGTERM by nobody."""
    asset = video("film.mov", 300_000)
    config = commands.write_config(tmp_path / "backlotfs.toml", serve(asset))
    place = shared_folder / "backlot"
    _, *options = json.loads(instructions("CMD")[0])
    paths = {"/run/secrets/backlotfs.toml": config, "/cache": tmp_path, "/library/backlot": place}
    words = [str(paths.get(word, word)) for word in options]
    with (tmp_path / "log").open("w") as log:
        container = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--propagation",
                "unchanged",
                *commands.command("mount", *words),
            ],
            cwd=ROOT,
            env=commands.environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: container.poll() is not None or is_mounted(place), "the mount", timeout_s=30
        )
        assert container.poll() is None, (tmp_path / "log").read_text()
        for prefix in ([], ["unshare", "--mount", "--propagation", "slave"]):
            seen = subprocess.run(
                [*prefix, "cat", place / "film.mov"], capture_output=True, check=True
            )
            assert seen.stdout == origin_bytes(asset)
        container.send_signal(signal.SIGTERM)
        assert container.wait(20) == 0
        assert not is_mounted(place)
    finally:
        with contextlib.suppress(ProcessLookupError):
            container.kill()
        container.wait(10)
