# SPDX-License-Identifier: Apache-2.0
"""The tutorial of pandas, Dask and an export to S3 works as it stands, with a worker killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from backlotfs.emulator import Library
from backlotfs.export.destination import MANIFEST, WORKSPACE
from tests.support import commands
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import MIB
from tests.support.written_commands import blocks

_PAGE = commands.ROOT / "docs" / "tutorial-cluster.md"
_FILES = 60
_PAGE_S = 400.0
#: The ports that the page names, or that its commands take.
_PORTS = (8786, 8880, 9000)
_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Followed(NamedTuple):
    """The page after its last command. :ivar folder: that it works in."""

    code: int
    output: str
    folder: Path


def own_network() -> list[str]:
    """What runs a command in a network of its own, where nobody else has the ports of the page.

    Only root can make one without losing what its files belong to. Others share the ports.
    """
    prefix = ["unshare", "--net", sys.executable, "-c", _LOOPBACK_UP]
    made = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if made.returncode == 0 else []


def skip_if_ports_are_taken() -> None:
    """Nothing is to be learned from a page that another program answers."""
    for port in _PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            pytest.skip(f"port {port} of the page cannot be used: {error}")


def as_script() -> str:
    """All blocks of the page after the installation, in their order; the first failure ends it."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```", _PAGE.read_text("utf-8"), re.M | re.S)
    parts = [
        text if language == "sh" else f"python <<'END-OF-BLOCK'\n{text}END-OF-BLOCK\n"
        for language, text in found
    ]
    return "\n".join(["set -e", *parts[1:]])


@contextlib.contextmanager
def followed(home: Path) -> Iterator[Followed]:
    """Follow the page in one shell; nothing that it started is left at the end."""
    folder = home / "cluster-tutorial"
    folder.mkdir(parents=True)
    script = home / "page.sh"
    script.write_text(as_script(), "utf-8")
    programs = Path(sys.executable).parent
    network = own_network()
    if not network:
        skip_if_ports_are_taken()
    with (home / "output").open("w+", encoding="utf-8") as output:
        shell = subprocess.Popen(
            [*network, "bash", str(script)],
            cwd=home,
            env=commands.environment(
                home, {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"}
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = shell.wait(_PAGE_S)
            output.seek(0)
            yield Followed(code, output.read(), folder)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


@pytest.mark.long
@pytest.mark.timeout(int(_PAGE_S) + 60)
def test_every_step_works_and_a_worker_is_killed_in_the_middle(tmp_path: Path) -> None:
    """The table and the headers are of all files, and the bucket has the right bytes of each."""
    with followed(tmp_path) as page:
        assert page.code == 0, page.output
    assert f"{_FILES} clips, 62.88 seconds in all" in page.output
    assert f"{_FILES} files, {_FILES} different beginnings" in page.output
    assert f"{_FILES} files, {_FILES}.0 MiB, copied and verified" in page.output
    killed_at = re.search(r"^killed a worker when the bucket had (\d+) ", page.output, re.M)
    assert killed_at is not None, page.output
    assert 10 <= int(killed_at[1]) < _FILES
    assert "Remove worker" in (page.folder / "scheduler.log").read_text("utf-8")
    bucket = page.folder / "s3" / "archive" / "2026"
    for asset in Library.synthetic(_FILES, size_bytes=MIB).ordered():
        name = str(asset.original_file_name)
        assert f"{name}: OK\n" in page.output
        assert (bucket / name).read_bytes() == origin_bytes(asset)
    assert len((bucket / MANIFEST).read_text("utf-8").splitlines()) == _FILES
    assert not (bucket / WORKSPACE).exists()
    logs = "".join(path.read_text("utf-8") for path in page.folder.glob("*.log"))
    assert "Signature=" not in logs + page.output


def test_it_installs_what_the_test_above_has() -> None:
    """Every package that the page names is one of the extra `ecosystem`, or an extra of ours."""
    extras = tomllib.loads((commands.ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    tested = {re.split("[><=]", package)[0] for package in extras["ecosystem"]}
    [install] = [line for line in blocks(_PAGE)[0] if line.startswith("pip install ")]
    ours, *others = install.replace("'", "").split()[2:]
    assert set(others) <= tested
    assert set(ours.removeprefix(".[").removesuffix("]").split(",")) <= extras.keys()
