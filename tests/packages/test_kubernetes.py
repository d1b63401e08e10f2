# SPDX-License-Identifier: Apache-2.0
"""The manifests for Kubernetes: linted, in step with the recipe, tried without a cluster."""

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
from typing import Any

import pytest

import backlotfs
from backlotfs.cli.mount import mount as mount_command
from tests.conftest import Serve
from tests.support import commands
from tests.support.commands import ROOT
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import video
from tests.support.mounting import is_mounted, shared_mount
from tests.support.programs import run_program

pytestmark = [pytest.mark.long]

_FOLDER = ROOT / "docs" / "container"
_FILES = [_FOLDER / "daemonset.yaml", _FOLDER / "sidecar.yaml"]
#: The oldest with sidecars that are on by default, and the newest whose schemas there are.
_KUBERNETES = ["1.29", "1.37"]


def objects(path: Path) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    import yaml

    return list(yaml.safe_load_all(path.read_text("utf-8")))


def pod_specs() -> list[dict[str, Any]]:
    """Of every pod of the manifests."""
    found = []
    for path in _FILES:
        for thing in objects(path):
            spec = thing.get("spec", {})
            spec = spec.get("template", {}).get("spec", spec)
            if "containers" in spec:
                found.append(spec)
    return found


def containers() -> list[dict[str, Any]]:
    """Every container, those that mount first."""
    found = [
        container
        for spec in pod_specs()
        for container in [*spec.get("initContainers", []), *spec["containers"]]
    ]
    return sorted(found, key=lambda container: "backlotfs" not in container["image"])


def mounters() -> list[dict[str, Any]]:
    """The containers that mount."""
    return [one for one in containers() if "backlotfs" in one["image"]]


def volume(container: dict[str, Any], name: str) -> dict[str, Any]:
    """Where a container has a volume."""
    [found] = [one for one in container["volumeMounts"] if one["name"] == name]
    return dict(found)


def lint(*words: str | Path) -> tuple[int, str]:
    """Exit code and output of a linter of the environment."""
    program = Path(sys.executable).with_name(str(words[0]))
    assert program.exists(), f"{words[0]} is missing: make test-long installs it"
    done = subprocess.run(
        [program, *words[1:]], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_yamllint_is_content() -> None:
    """Two spaces, no duplicate keys, lines of 120."""
    rules = "{extends: default, rules: {line-length: {max: 120}}}"
    assert lint("yamllint", "--strict", "--config-data", rules, *_FILES) == (0, "")


@pytest.mark.parametrize("version", _KUBERNETES)
def test_the_schemas_of_kubernetes_are_content(version: str) -> None:
    """No field that this version does not know, none of another type."""
    options = ("--strict", "--kubernetes-version", version)
    code, output = lint("kubernetes-validate", *options, *_FILES)
    assert code == 0, output
    assert output.count("passed for resource") == sum(len(objects(path)) for path in _FILES)


def test_only_what_mounts_is_privileged() -> None:
    """Readers have nothing; nobody may write into a container or has a token of the cluster."""
    assert len(mounters()) == 2
    readers = [one for one in containers() if one not in mounters()]
    assert len(readers) == 2
    for container in mounters():
        assert volume(container, "library")["mountPropagation"] == "Bidirectional"
        assert container["securityContext"]["privileged"]
        assert container["image"].endswith(f":{backlotfs.__version__}")
    for container in readers:
        context = container["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        library = volume(container, "library")
        assert (library["mountPropagation"], library["readOnly"]) == ("HostToContainer", True)
    assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in containers())
    assert not any(spec["automountServiceAccountToken"] for spec in pod_specs())
    assert not any("hostNetwork" in spec or "hostPID" in spec for spec in pod_specs())


def test_they_fit_the_recipe_of_the_image() -> None:
    """Profile, cache and mountpoint are where the Containerfile has them; the options exist."""
    recipe = (_FOLDER / "Containerfile").read_text("utf-8")
    [words] = re.findall(r"^CMD (\[.+\])$", recipe, re.M)
    expected = mount_command.make_context("mount", json.loads(words)[1:]).params
    for container in mounters():
        verb, *options = container["args"]
        assert verb == "mount"
        parameters = mount_command.make_context("mount", options).params
        for name in ("foreground", "config", "cache_dir", "allow_other", "mountpoint"):
            assert parameters[name] == expected[name], name
        place = Path(options[-1])
        assert place.parent == Path(volume(container, "library")["mountPath"])
        assert container["startupProbe"]["exec"]["command"][-1] == str(place)
        assert volume(container, "cache")["mountPath"] == str(parameters["cache_dir"])
        assert volume(container, "profile")["mountPath"] == str(parameters["config"])
        # Where root's mounts have their control sockets; the rest of the root cannot be written.
        assert volume(container, "control")["mountPath"] == "/run/backlotfs"
    modes = [
        one["secret"]["defaultMode"]
        for spec in pod_specs()
        for one in spec["volumes"]
        if one["name"] == "profile"
    ]
    assert modes == [0o400, 0o400]


@pytest.fixture
def node_folder() -> Iterator[Path]:
    """A folder of a node on a shared mount, as the root of a node is."""
    if os.geteuid() != 0:
        pytest.skip("only root makes mount namespaces like a kubelet's")
    with shared_mount() as folder:
        yield folder


@contextlib.contextmanager
def pod_that_mounts(film: Path, config: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """The container of the DaemonSet, in a mount namespace whose library is Bidirectional."""
    place = film.parent
    _, *options = mounters()[0]["args"]
    paths = {"/run/secrets/backlotfs.toml": config, "/cache": home, "/library/backlot": place}
    words = [
        name + "=" + str(paths.get(value, value)) if value else str(paths.get(name, name))
        for name, _, value in (word.partition("=") for word in options)
    ]
    namespace = ["unshare", "--mount", "--propagation", "unchanged"]
    with (home / "log").open("a") as log:
        pod = subprocess.Popen(
            [*namespace, *commands.command("mount", *words)],
            cwd=ROOT,
            env=commands.environment(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        wait_until(
            lambda: pod.poll() is not None or serves(film), "the mount of the pod", timeout_s=60
        )
        assert pod.poll() is None, (home / "log").read_text()
        yield pod
    finally:
        with contextlib.suppress(ProcessLookupError):
            pod.kill()
        pod.wait(20)


def serves(film: Path) -> bool:
    """Whether the file can be read; the kernel lists folders of a mount that has ended, too."""
    try:
        return bool(film.read_bytes())
    except OSError:
        return False


@pytest.mark.mounted
def test_a_reader_sees_each_mount_of_its_node(
    serve: Serve, node_folder: Path, tmp_path: Path
) -> None:
    """One that begins after the reader, the next after a kill; after SIGTERM none."""
    asset = video("film.mov", 300_000)
    config = commands.write_config(tmp_path / "backlotfs.toml", serve(asset))
    film = node_folder / "backlot" / "film.mov"
    # It reads what it is told to, in a namespace that is the slave of the node's: HostToContainer.
    # It answers when the file is closed again: the next step may kill the mount.
    loop = 'while read -r path; do sum=$(cksum "$path" 2>&1) || sum=none; echo "$sum"; done'
    shell = shutil.which("sh") or "/bin/sh"
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "slave", shell, "-c", loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def seen() -> str:
            assert reader.stdin is not None
            assert reader.stdout is not None
            reader.stdin.write(f"{film}\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        (tmp_path / "expected").write_bytes(origin_bytes(asset))
        checksum = run_program("cksum", tmp_path / "expected").rpartition(" ")[0] + f" {film}"
        assert seen() == "none"
        with pod_that_mounts(film, config, tmp_path) as pod:
            assert seen() == checksum
            pod.kill()
            pod.wait(20)
        with pod_that_mounts(film, config, tmp_path) as pod:
            assert seen() == checksum
            pod.send_signal(signal.SIGTERM)
            assert pod.wait(30) == 0
            assert not is_mounted(node_folder / "backlot")
        assert seen() == "none"
        reader.stdin.close()
