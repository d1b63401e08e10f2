"""What programs get for files whose size waits for a credit, by their names and their output."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import status
from tests.mounted.credits.spent import ASSETS, name_of, program, unsized
from tests.support.deadlines import wait_until
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

NOTICE = re.compile(r"NOT ALL FILES ARE LISTED YET \((\d+) to come, (\d+) (s|min)\)\.txt")
#: Under another name: list a folder, look at files, read one; what it met, as JSON.
_PROGRAM = """
import ctypes, errno, json, os, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
folder, names = sys.argv[2], sys.argv[3:]
met = {}
for name in names:
    try:
        met[name] = os.stat(os.path.join(folder, name)).st_size
    except OSError as error:
        met[name] = errno.errorcode[error.errno]
listed = sorted(os.listdir(folder))
notes = [name for name in listed if name.startswith("NOT ALL")]
texts = []
for name in notes:
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        content = file.read()
    texts.append([content.decode(), os.stat(path).st_size == len(content)])
print(json.dumps([listed, met, texts]))
"""


#: Options of the mount in, the mount out.
MountWith = Callable[..., Mount]


class Met(NamedTuple):
    """What a program met.

    :ivar listed: names. :ivar stat: size, or the name of an errno, by file.
    :ivar texts: of the notices, and whether each had the size that was told.
    """

    listed: list[str]
    stat: dict[str, int | str]
    texts: list[tuple[str, bool]]

    @property
    def notices(self) -> list[str]:
        """Names of notices."""
        return [name for name in self.listed if name.startswith("NOT ALL")]


def run_as(name: str, mount: Mount, *files: str) -> Met:
    """A program of this name lists the mount and looks at the files."""
    command = [sys.executable, "-S", "-c", _PROGRAM, name, os.fspath(mount.path), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Met(*json.loads(done.stdout))


@pytest.fixture
def mounted_with(serve: Serve, mounted: MountIt) -> MountWith:
    """Mounts a library whose credits of the minute are spent."""

    def mount(*options: str) -> Mount:
        found = mounted(serve(*ASSETS, rate_limit=300), "--cache-size=0", *options)
        process = program("rsync", "-a", "--list-only", f"{found.path}/")
        wait_until(
            lambda: status(found)["credits"]["more_in_s"] is not None or process.poll() is not None,
            "the credits to be spent",
        )
        process.kill()
        process.communicate(timeout=60)
        wait_until(lambda: status(found)["waiting"] == [], "nobody to wait")
        return found

    return mount


def shown_on_a_terminal(*command: str | Path) -> str:
    """What a program writes to a terminal, with the columns of a wide one."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "COLUMNS": "90"},
    )
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(main, 65536):
            output += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(main)
    assert process.wait(60) == 0
    return output.decode()


def test_file_managers_see_what_is_known_and_a_notice(mounted_with: MountWith) -> None:
    """At once; by the documented list and by ``--no-wait``, on the command line and by ``-o``."""
    mount = mounted_with("--no-wait=my-browser", "-o", "no-wait=one:two")
    missing = [name_of(asset) for asset in unsized(mount.emulator)]
    known = [name_of(asset) for asset in ASSETS if name_of(asset) not in missing]
    for name in ("thunar", "nautilus", "my-browser", "one", "two"):
        met = run_as(name, mount, known[0], missing[-1])
        assert set(known) == set(met.listed) - set(met.notices)
        assert met.stat == {known[0]: 1000 + int(known[0][5:8]), missing[-1]: "ENOENT"}
        (notice,) = met.notices
        match = NOTICE.fullmatch(notice)
        assert match is not None, notice
        assert int(match[1]) == len(missing)
        ((text, size_is_true),) = met.texts
        assert size_is_true
        assert text.startswith(notice.removesuffix(".txt"))
        assert "Do not copy this folder with a file manager" in text
    everything = {name_of(asset) for asset in ASSETS}
    for name in ("bash", "some-program"):
        assert set(run_as(name, mount).listed) == everything, "they see every name"
    # the kernel has not remembered a hidden name as absent: others are told the size in time
    assert (mount / missing[-1]).stat().st_size == 1000 + int(missing[-1][5:8])
    wait_until(lambda: status(mount)["sizes"]["sized"] == len(ASSETS), "all sizes", timeout_s=90)
    met = run_as("thunar", mount, missing[-1])
    assert set(met.listed) == everything, "the notice is gone"
    assert met.stat == {missing[-1]: 1000 + int(missing[-1][5:8])}


def test_ls_on_a_terminal_does_not_stand_still(mounted_with: MountWith) -> None:
    """It shows what is known, and the notice; in a pipe names are complete, also a shell's."""
    mount = mounted_with()
    missing = {name_of(asset) for asset in unsized(mount.emulator)}
    for command in (("ls", "--color=always", mount.path), ("ls", "-l", mount.path)):
        text = shown_on_a_terminal(*command)
        assert "NOT ALL FILES ARE LISTED YET" in text
        assert "cannot access" not in text
        assert not [name for name in missing if name in text]
        assert "clip-" in text
    piped = subprocess.run(["ls", "-U", mount.path], capture_output=True, text=True, check=True)
    assert len(piped.stdout.split()) == len(ASSETS)
    script = 'cd "$1" && names=(*.mov) && echo ${#names[@]}'
    globbed = subprocess.run(
        ["bash", "-c", script, "bash", mount.path], capture_output=True, text=True, check=True
    )
    assert globbed.stdout == f"{len(ASSETS)}\n"


def test_unsized_fail(mounted_with: MountWith) -> None:
    """EAGAIN at once for who names such a file; names are complete."""
    mount = mounted_with("--unsized=fail")
    last = name_of(unsized(mount.emulator)[-1])
    met = run_as("some-program", mount, last)
    assert met.stat == {last: "EAGAIN"}
    assert len(met.listed) == len(ASSETS)
    done = subprocess.run(["cat", mount / last], capture_output=True, text=True, check=False)
    assert os.strerror(errno.EAGAIN) in done.stderr


def test_unsized_hide(mounted_with: MountWith) -> None:
    """Every program sees what is known, and the notice."""
    mount = mounted_with("-o", "unsized=hide")
    missing = [name_of(asset) for asset in unsized(mount.emulator)]
    met = run_as("some-program", mount, missing[-1])
    assert met.stat == {missing[-1]: "ENOENT"}
    assert len(met.notices) == 1
    assert len(met.listed) == len(ASSETS) - len(missing) + 1
