# SPDX-License-Identifier: Apache-2.0
"""The systemd units: valid, and without what would hide the mount or stop it."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from backlotfs.cli.mount import mount
from backlotfs.cli.mount_helper import words_for
from tests.project.source_tree import ROOT

USER_UNITS = sorted((ROOT / "systemd" / "user").glob("*.service"))
UNITS = [*sorted((ROOT / "systemd").glob("*.service")), *USER_UNITS]
EXAMPLES = sorted((ROOT / "systemd" / "examples").iterdir())
SYSTEM_UNITS = [unit for unit in (*UNITS, *EXAMPLES) if unit not in USER_UNITS]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)

# systemd.exec(5): each of these gives the service a mount namespace (or a user namespace, in which
# it may not mount for others); the mount is then visible to nobody else, and `systemd-analyze
# verify` is content.
HIDES_THE_MOUNT = frozenset(
    {
        *("RootDirectory", "RootImage", "RootImageOptions", "RootHash", "RootHashSignature"),
        *("RootVerity", "RootEphemeral", "RootMStack", "MountAPIVFS", "BindLogSockets"),
        *("ProtectProc", "ProcSubset", "BindPaths", "BindReadOnlyPaths", "MountImages"),
        *("ExtensionImages", "ExtensionDirectories", "DynamicUser", "ProtectSystem", "ProtectHome"),
        *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths"),
        *("ReadWriteDirectories", "ReadOnlyDirectories", "InaccessibleDirectories"),
        *("TemporaryFileSystem", "PrivateTmp", "PrivateDevices", "PrivateMounts", "MountFlags"),
        *("PrivateNetwork", "NetworkNamespacePath", "PrivateIPC", "IPCNamespacePath"),
        *("PrivatePIDs", "PrivateUsers", "UserNamespacePath", "JoinsNamespaceOf", "LogNamespace"),
        *("ProtectHostname", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs"),
        *("ProtectControlGroups", "PrivateBPF"),
    }
)
# fusermount3 is setuid; ctypes callbacks need pages that are writable and executable; the clock
# protection allows only the clock's device, so /dev/fuse is refused.
STOPS_THE_MOUNT = frozenset({"NoNewPrivileges", "MemoryDenyWriteExecute", "ProtectClock"})
# Imply NoNewPrivileges= for a service that does not run as root.
IMPLIES_NO_NEW_PRIVILEGES = frozenset(
    {
        *("LockPersonality", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime"),
        *("RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter", "SystemCallLog"),
    }
)
OFF = {"", "no", "false", "off", "0"}


def settings(unit: str) -> list[tuple[str, str]]:
    """Name and value of every setting, continued lines joined."""
    lines = unit.replace("\\\n", " ").splitlines()
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith(("#", ";", "[")))
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals]


def forbidden(pairs: Iterable[tuple[str, str]], *, as_root: bool = True) -> list[str]:
    """The settings that would hide the mount or stop it; switched off they are harmless.

    :param as_root: whether the unit is one of the system's manager.
    """
    used = {name for name, value in pairs if value.lower() not in OFF}
    refused = used & (HIDES_THE_MOUNT | STOPS_THE_MOUNT)
    if "User" in used or not as_root:
        refused |= used & IMPLIES_NO_NEW_PRIVILEGES
    return sorted(refused)


def analyze(*words: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    """``systemd-analyze``, which wants a folder of its own for a user's manager."""
    return subprocess.run(
        ["systemd-analyze", *words],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def instance(unit: Path, folder: Path) -> Path:
    """A copy that systemd can look at: a template's instance, of a program that is here."""
    copy = folder / unit.name.replace("@.", "@example.")
    copy.write_text(unit.read_text().replace("/usr/local/bin/backlotfs", "/bin/true"))
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_the_mount_is_visible_and_possible(unit: Path) -> None:
    """No setting makes a mount namespace or takes fusermount's powers."""
    assert forbidden(settings(unit.read_text()), as_root=unit not in USER_UNITS) == []


@pytest.mark.parametrize("name", sorted(HIDES_THE_MOUNT | STOPS_THE_MOUNT))
def test_each_forbidden_setting_is_seen(name: str) -> None:
    """The rule itself can fail."""
    assert forbidden([(name, "yes")]) == [name]
    assert forbidden([(name, "no")]) == []


def test_a_user_without_new_privileges_is_seen() -> None:
    """``User=`` with a system call filter implies what is forbidden."""
    pairs = [("User", "backlot"), ("SystemCallFilter", "@system-service")]
    assert forbidden(pairs) == ["SystemCallFilter"]
    assert forbidden([("RestrictRealtime", "yes")], as_root=False) == ["RestrictRealtime"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_the_secret_is_not_in_the_unit(unit: Path) -> None:
    """Neither on the command line nor in the environment, which every user can read."""
    for name, value in settings(unit.read_text()):
        assert "SECRET" not in value.upper(), f"{name}={value}"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_the_service_waits_for_the_mount(unit: Path) -> None:
    """Units ordered after it find the files; the profile is taken verbatim; a hang is noticed."""
    pairs = dict(settings(unit.read_text()))
    assert pairs["Type"] == "notify"
    assert "--foreground" in pairs["ExecStart"]
    assert pairs["ExecStart"].endswith("/backlot/%i")
    assert float(pairs["WatchdogSec"]) >= 30
    assert "%I" not in "".join(pairs.values())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_reload_sends_sighup(unit: Path) -> None:
    """The command of ``systemctl reload``, run as systemd runs it, reaches the main process."""
    command = shlex.split(dict(settings(unit.read_text()))["ExecReload"])
    with subprocess.Popen(["sleep", "60"]) as main:
        try:
            subprocess.run(command, check=True, env={"MAINPID": str(main.pid)})
            assert main.wait(30) == -signal.SIGHUP
        finally:
            main.kill()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_the_unit_needs_no_program_that_a_minimal_system_lacks(unit: Path) -> None:
    """Besides ours: coreutils, the shell, mount and FUSE; not procps, for example."""
    started = {
        value.lstrip("-").split()[0]
        for name, value in settings(unit.read_text())
        if name.startswith("Exec")
    }
    assert started <= {
        *("/bin/mkdir", "/bin/sh", "/bin/umount", "/bin/fusermount"),
        "/usr/local/bin/backlotfs",
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_the_unit_uses_options_that_exist(unit: Path) -> None:
    """An option that was renamed would show only on a server that starts again."""
    pairs = dict(settings(unit.read_text()))
    program, command, *arguments = pairs["ExecStart"].split()
    assert (program, command) == ("/usr/local/bin/backlotfs", "mount")
    known = {option for parameter in mount.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= known


@needs_systemd
@pytest.mark.parametrize("unit", SYSTEM_UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """Every setting is known to it; the program itself need not be installed here."""
    verified = analyze("verify", "--man=no", instance(unit, tmp_path), home=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", USER_UNITS, ids=lambda unit: unit.name)
def test_a_users_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """The manager of a user knows other specifiers and targets."""
    verified = analyze("--user", "verify", "--man=no", instance(unit, tmp_path), home=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", sorted((ROOT / "systemd").glob("*.service")))
def test_the_system_service_is_hardened(unit: Path, tmp_path: Path) -> None:
    """As far as a mount that all can see allows: systemd's own measure, where 100 is no care."""
    copy = instance(unit, tmp_path)
    measured = analyze("security", "--offline=true", "--threshold=50", copy, home=tmp_path)
    assert measured.returncode == 0, measured.stdout
    refused = analyze("security", "--offline=true", "--threshold=5", copy, home=tmp_path)
    assert refused.returncode == 1, "the threshold has no effect"


@pytest.mark.parametrize("kind", ["mount", "automount"])
def test_examples_are_named_for_their_folder(kind: str) -> None:
    """systemd refuses any other name."""
    (unit,) = (ROOT / "systemd" / "examples").glob(f"*.{kind}")
    where = dict(settings(unit.read_text()))["Where"]
    assert unit.stem == where.strip("/").replace("/", "-")


def test_the_examples_options_exist() -> None:
    """The helper of mount(8) would name the one that does not."""
    pairs = dict(settings((ROOT / "systemd/examples/mnt-backlot.mount").read_text()))
    assert pairs["Type"] == "backlotfs"
    assert words_for(pairs["What"], pairs["Where"], pairs["Options"], sloppy=False)
