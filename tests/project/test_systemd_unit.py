"""The systemd unit: valid, and without what would hide the mount or stop it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from backlotfs.cli.mount import mount
from tests.project.source_tree import ROOT

UNITS = sorted((ROOT / "systemd").glob("*.service"))

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


def forbidden(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The settings that would hide the mount or stop it; switched off they are harmless."""
    used = {name for name, value in pairs if value.lower() not in OFF}
    refused = used & (HIDES_THE_MOUNT | STOPS_THE_MOUNT)
    if "User" in used:
        refused |= used & IMPLIES_NO_NEW_PRIVILEGES
    return sorted(refused)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_mount_is_visible_and_possible(unit: Path) -> None:
    """No setting makes a mount namespace or takes fusermount's powers."""
    assert forbidden(settings(unit.read_text())) == []


@pytest.mark.parametrize("name", sorted(HIDES_THE_MOUNT | STOPS_THE_MOUNT))
def test_each_forbidden_setting_is_seen(name: str) -> None:
    """The rule itself can fail."""
    assert forbidden([(name, "yes")]) == [name]
    assert forbidden([(name, "no")]) == []


def test_a_user_without_new_privileges_is_seen() -> None:
    """``User=`` with a system call filter implies what is forbidden."""
    pairs = [("User", "backlot"), ("SystemCallFilter", "@system-service")]
    assert forbidden(pairs) == ["SystemCallFilter"]


def test_the_secret_is_not_in_the_unit() -> None:
    """Neither on the command line nor in the environment, which every user can read."""
    for name, value in settings(UNITS[0].read_text()):
        assert "SECRET" not in value.upper(), f"{name}={value}"


def test_the_service_waits_for_the_mount() -> None:
    """Units ordered after it find the files; the profile is taken verbatim."""
    pairs = dict(settings((ROOT / "systemd" / "backlotfs@.service").read_text()))
    assert pairs["Type"] == "notify"
    assert "--foreground" in pairs["ExecStart"]
    assert pairs["ExecStart"].endswith("/mnt/backlot/%i")
    assert "%I" not in "".join(pairs.values())


def test_the_unit_uses_options_that_exist() -> None:
    """An option that was renamed would show only on a server that starts again."""
    pairs = dict(settings((ROOT / "systemd" / "backlotfs@.service").read_text()))
    program, command, *arguments = pairs["ExecStart"].split()
    assert (program, command) == ("/usr/local/bin/backlotfs", "mount")
    known = {option for parameter in mount.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """Every setting is known to it; the program itself need not be installed here."""
    copy = tmp_path / unit.name.replace("@.", "@example.")
    copy.write_text(unit.read_text().replace("/usr/local/bin/backlotfs", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
