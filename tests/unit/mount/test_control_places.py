# SPDX-License-Identifier: Apache-2.0
"""Where the control socket is in each session of a user; what commands say that do not find it."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from backlotfs.catalog.db.table import AssetTable
from backlotfs.cli.pin import pins
from backlotfs.cli.status import refresh, status
from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry, MountProbe
from backlotfs.mount.control import client, unix_socket
from backlotfs.mount.control.unix_socket import socket_paths
from backlotfs.namespace.tree import Folder
from tests.unit.mount.serving_process import Process

PLACE = Path("/mnt/x")
STRANGER = 45002
#: Not even root can make a folder there.
NOWHERE = Path("/proc/no-session")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
USERS = ["/tmp/backlotfs-1000", "/run/user/1000/backlotfs"]
#: `pin` first asks as `pins` does.
COMMANDS: list[tuple[click.Command, list[str]]] = [(status, ["--json"]), (refresh, []), (pins, [])]


@pytest.mark.parametrize(
    ("uid", "session", "folders"),
    [
        (1000, {}, USERS),  # cron, `su`, a systemd service
        (1000, {"XDG_RUNTIME_DIR": "/run/user/1000"}, USERS),
        (1000, {"XDG_RUNTIME_DIR": "/tmp/another"}, USERS),
        (1000, {"XDG_RUNTIME_DIR": "/run/user/1001"}, USERS),  # not ours: `su` without a login
        (1000, {"XDG_RUNTIME_DIR": "/gone/since"}, USERS),
        (1000, {"XDG_RUNTIME_DIR": ""}, USERS),
        (0, {}, ["/run/backlotfs"]),
        (0, {"XDG_RUNTIME_DIR": "/run/user/0"}, ["/run/backlotfs"]),
        # sudo: root's mounts; those of the user are another user's
        (0, {"XDG_RUNTIME_DIR": "/run/user/1000", "SUDO_UID": "1000"}, ["/run/backlotfs"]),
    ],
)
def test_the_same_in_every_session_of_a_user(
    uid: int, session: dict[str, str], folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of a session decides nothing; the best place does not go with a login."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    for name in ("XDG_RUNTIME_DIR", "SUDO_UID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in session.items():
        monkeypatch.setenv(name, value)
    assert [str(path.parent) for path in socket_paths(PLACE)] == folders


class Host:
    """A host with both places, of which the second goes with the login session of the user."""

    def __init__(self, folder: Path, process: Process) -> None:
        self.process = process
        self.first = folder / "tmp"  # short names: a socket's path has 107 bytes at most
        self.session = folder / "u"

    def places(self) -> tuple[Path, Path]:
        """Where sockets can be; nobody but the login can make the folder of a session."""
        return self.first, (self.session if self.session.exists() else NOWHERE) / "b"

    def login(self) -> None:
        """Of the user, anywhere."""
        self.session.mkdir(0o700)

    def logout(self) -> None:
        """The last session of the user ends."""
        shutil.rmtree(self.session)

    def clean(self) -> None:
        """A cleaner of ``/tmp`` takes what looks old."""
        shutil.rmtree(self.first)

    def remove_socket(self) -> None:
        """Somebody removes the socket alone."""
        socket_paths(PLACE)[0].unlink()

    def taken_by_another_user(self) -> None:
        """Whoever has the name first, has it: ``/tmp`` is for all."""
        self.first.mkdir(0o700)
        os.chown(self.first, STRANGER, STRANGER)

    def open_to_all(self) -> None:
        """Anybody may put a socket there."""
        self.first.mkdir()
        self.first.chmod(0o777)

    def a_link(self) -> None:
        """It leads to a folder of somebody's choice."""
        self.first.symlink_to(self.session)

    def a_minute(self) -> None:
        """The mount looks after its socket once a minute."""
        self.process.each_minute()

    def killed(self) -> None:
        """What a killed mount leaves: a socket on which no process listens."""
        self.first.mkdir(0o700)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(socket_paths(PLACE)[0]))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Nothing is mounted on it yet."""
    found = Host(tmp_path, Process(monkeypatch, tmp_path))
    monkeypatch.setattr(unix_socket, "_folders", found.places)
    found.process.stack.reading.reconciler.pins = SimpleNamespace(
        quota_bytes=2048, needed_bytes=0, cached_bytes=0, all=list
    )
    found.process.stack.namespace.root = Folder(1, AssetTable())
    return found


OURS = MountEntry(str(PLACE), FUSE_TYPE, "backlot:x", frozenset({f"user_id={os.geteuid()}"}))
OTHERS = MountEntry(str(PLACE), FUSE_TYPE, "backlot:x", frozenset({f"user_id={STRANGER}"}))
DISK = MountEntry(str(PLACE), "ext4", "/dev/sda", frozenset())
ALIVE = MountProbe(5, dead=False)
SILENT = MountProbe(None, dead=False, silent=True)
DEAD = MountProbe(None, dead=True)

ANSWERS = ""
NOT_MOUNTED = "backlotfs is not mounted on /mnt/x"
ANOTHER_USERS = "belongs to another user; only that user can ask it"
NO_ANSWER = "is there, but does not answer commands"
IS_DEAD = "is dead; clear it: backlotfs umount /mnt/x"

Step = Callable[[Host], None]


def said(host: Host, monkeypatch: pytest.MonkeyPatch, probe: MountProbe | None) -> list[str]:
    """What each command says of the mount; ``""``: the mount has answered."""
    looks: list[Path] = []

    def look(place: Path, **_limits: float) -> MountProbe:
        looks.append(place)
        assert probe is not None, "nothing of ours is there to be looked at"
        return probe

    monkeypatch.setattr(client, "probe_mount", look)
    found = []
    for command, options in COMMANDS:
        looks.clear()
        result = CliRunner().invoke(command, [str(PLACE), *options])
        text = "" if result.exception is None else str(result.exception)
        assert result.exit_code == (text != "")
        assert ("dead" in text, "umount" in text) == (bool(looks) and probe is DEAD,) * 2
        found.append(text)
    return found


@pytest.mark.parametrize(
    ("before", "meanwhile", "expected"),
    [
        ([], [], ANSWERS),
        ([], [Host.login], ANSWERS),
        ([Host.login], [], ANSWERS),
        ([Host.login], [Host.logout], ANSWERS),
        ([Host.login], [Host.logout, Host.login], ANSWERS),
        # a cleaner of /tmp
        ([], [Host.remove_socket], NO_ANSWER),
        ([], [Host.remove_socket, Host.a_minute], ANSWERS),
        ([], [Host.clean], NO_ANSWER),
        ([], [Host.clean, Host.a_minute], ANSWERS),
        ([], [Host.clean, Host.login, Host.open_to_all, Host.a_minute], ANSWERS),
        # the first place cannot be used
        *[
            pytest.param(before, meanwhile, expected, marks=marks)
            for taken, marks in (
                (Host.taken_by_another_user, AS_ROOT),
                (Host.open_to_all, ()),
                (Host.a_link, ()),
            )
            for before, meanwhile, expected in (
                ([taken, Host.login], [], ANSWERS),
                ([taken, Host.login], [Host.logout], "cannot be asked: "),
                ([taken, Host.login], [Host.logout, Host.login, Host.a_minute], ANSWERS),
                (
                    [taken, Host.login],
                    [Host.logout, Host.a_minute, Host.login, Host.a_minute],
                    ANSWERS,
                ),
                ([taken], [], "cannot be asked: "),
                ([taken], [Host.login, Host.a_minute], ANSWERS),
            )
        ],
    ],
    ids=itertools.count(),  # short, for the sake of the path
)
def test_a_live_mount(
    host: Host,
    before: list[Step],
    meanwhile: list[Step],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is found in each session; where it is not, no command says that it is dead."""
    monkeypatch.setattr(client, "mount_at", lambda _place: OURS)
    found: list[str] = []

    def during() -> None:
        for step in meanwhile:
            step(host)
        found.extend(said(host, monkeypatch, ALIVE))

    for step in before:
        step(host)
    host.process.during = during
    host.process.serve()
    for text in found:
        assert expected in text
        assert (expected == ANSWERS) == (text == "")
    assert len(found) == len(COMMANDS)
    assert [path for path in socket_paths(PLACE) if path.exists()] == []


@pytest.mark.parametrize(
    ("entry", "probe", "before", "expected"),
    [
        (None, None, [], NOT_MOUNTED),
        (None, None, [Host.login], NOT_MOUNTED),
        (None, None, [Host.killed], NOT_MOUNTED),
        (DISK, None, [], NOT_MOUNTED),
        (OTHERS, None, [], ANOTHER_USERS),  # also by sudo
        (OURS, DEAD, [], IS_DEAD),
        (OURS, DEAD, [Host.killed], IS_DEAD),
        (OURS, DEAD, [Host.killed, Host.login], IS_DEAD),
        (OURS, SILENT, [Host.killed], NO_ANSWER),
        (OURS, ALIVE, [Host.killed], NO_ANSWER),
        (OURS, ALIVE, [], NO_ANSWER),
    ],
    ids=itertools.count(),
)
def test_no_process_answers(
    host: Host,
    entry: MountEntry | None,
    probe: MountProbe | None,
    before: list[Step],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mount is called dead only after a look at it; a healthy one is never to be unmounted."""
    monkeypatch.setattr(client, "mount_at", lambda _place: entry)
    for step in before:
        step(host)
    for text in said(host, monkeypatch, probe):
        assert expected in text
