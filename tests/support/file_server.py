# SPDX-License-Identifier: Apache-2.0
"""A Samba server of the tests' own: a folder of its own, a high port on the loopback, no root's.

Debian's own services and their files are not touched; nothing of it stays after `close`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.project.source_tree import ROOT
from tests.support.deadlines import wait_until
from tests.support.programs import find_program, run_program

#: What the documents tell users to write: this server has just that, with its own path.
_DOCUMENTED = ROOT / "docs" / "how-to" / "nas.md"
#: From the start of the server to its first answer, and from SIGTERM to the end of all of it.
_START_S = _END_S = 30.0

_SETTINGS = """
[global]
    server role = standalone server
    disable netbios = yes
    interfaces = lo
    bind interfaces only = yes
    map to guest = Bad User
    guest account = {user}
    load printers = no
    disable spoolss = yes
    printcap name = /dev/null
    unix extensions = no
    private dir = {folder}
    lock directory = {folder}
    state directory = {folder}
    cache directory = {folder}
    pid directory = {folder}
    ncalrpc dir = {folder}/ncalrpc
    log file = {folder}/smbd.log
"""


@dataclass(frozen=True, slots=True)
class FileServer:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        settings: its smb.conf, which the client reads too.
        share: the name of the share.
    """

    port: int
    settings: Path
    share: str

    def run(self, commands: str, *, into: Path) -> str:
        """What smbclient prints for its own ``commands``; what it gets goes to ``into``."""
        return run_program(
            *("smbclient", "--configfile", self.settings, "--no-pass", "-p", str(self.port)),
            *(f"//127.0.0.1/{self.share}", "-c", commands),
            cwd=into,
            environment={**os.environ, "LC_ALL": "C.UTF-8"},
        )


@contextlib.contextmanager
def file_server(path: Path, folder: Path, *, user: str) -> Iterator[FileServer]:
    """Share ``path``, read-only, with everybody on this machine.

    :param folder: for all that the server writes.
    :param user: who it reads as.
    """
    settings = folder / "smb.conf"
    share, section = _documented_share(path)
    text = _SETTINGS.format(folder=folder, user=user) + section + "    guest ok = yes\n"
    settings.write_text(text, "utf-8")
    run_program("testparm", "--suppress-prompt", settings)
    (folder / "ncalrpc").mkdir()
    port = _free_port()
    program = find_program("smbd")
    assert program is not None
    with (folder / "smbd.out").open("w") as output:
        process = subprocess.Popen(
            [
                *(program, "--foreground", "--no-process-group", "--debug-stdout"),
                *("--configfile", settings, "--port", str(port)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # so that its children are known by their session, whatever becomes of it
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(port),
            "Samba to answer",
            timeout_s=_START_S,
        )
        assert process.poll() is None, (folder / "smbd.out").read_text()
        yield FileServer(port, settings, share)
    finally:
        process.send_signal(signal.SIGTERM)
        _await_end(process)


def _documented_share(path: Path) -> tuple[str, str]:
    """Name and section of the share that the documents show, for ``path``."""
    [section] = re.findall(
        r"^```ini\n# smb.conf\n(.+?)^```", _DOCUMENTED.read_text("utf-8"), re.M | re.S
    )
    [name] = re.findall(r"^\[(.+)\]$", section, re.MULTILINE)
    section, replaced = re.subn(
        r"^( *path = ).*$", lambda at: f"{at[1]}{path}", section, flags=re.M
    )
    assert replaced == 1, "the share in the documents has one path"
    return name, section


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """The server and every child of it; what does not end is killed."""
    ends = time.monotonic() + _END_S
    try:
        process.wait(_END_S)
        while _session(process.pid) and time.monotonic() < ends:
            time.sleep(0.05)
    finally:
        for pid in _session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _session(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # pid (name) state ppid pgrp session
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False
