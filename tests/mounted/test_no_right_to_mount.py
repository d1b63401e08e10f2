# SPDX-License-Identifier: Apache-2.0
"""Where the device or the right to mount is missing: one line that names the remedy.

As root: in a mount namespace of its own, the machine's ``/dev`` stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Serve
from tests.mounted.test_ordinary_user import NOBODY, out_of_reach
from tests.support import commands
from tests.support.long_runs import few_of
from tests.support.made_assets import video
from tests.support.mounting import is_mounted
from tests.support.namespaces import LEAVE_OTHER_MOUNTS

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root takes devices and rights away"),
]

_NOBODY = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
#: Reading what lies in root's home, and nothing else.
_READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


def _with_device(options: str, mode: str) -> tuple[str, ...]:
    """Run a program in a namespace with another ``/dev/fuse``."""
    script = LEAVE_OTHER_MOUNTS + (
        f'mount -t tmpfs -o mode=755{options} none "$HOME/dev"; '
        f'mknod -m {mode} "$HOME/dev/fuse" c 10 229; '
        'mount --bind "$HOME/dev/fuse" /dev/fuse; exec "$@"'
    )
    return ("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh")


class Case(NamedTuple):
    """What is missing: the program that takes it away, and what is said."""

    before: tuple[str, ...]
    says: str
    doctor_says: str


CASES = {
    "a container without CAP_SYS_ADMIN": Case(
        ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
        "CAP_SYS_ADMIN is not allowed here; start the container with --device /dev/fuse --cap-add",
        "can be opened, but nothing can be mounted",
    ),
    "a container that shows the device and forbids it": Case(
        _with_device(",nodev", "666"),
        "/dev/fuse cannot be opened: Permission denied; start the container with --device",
        "may not be opened by this user",
    ),
    "a device that is not open to this user": Case(
        (*_with_device("", "600"), "setpriv", *_NOBODY),
        "/dev/fuse may not be opened by this user; its usual mode is 0666: sudo chmod 666",
        "may not be opened by this user",
    ),
    "no device": Case(
        (
            *("unshare", "--mount", "sh", "-ec"),
            LEAVE_OTHER_MOUNTS + 'mount -t tmpfs none /dev; exec "$@"',
            "sh",
        ),
        "/dev/fuse is missing; load the module: modprobe fuse; or start the container with",
        "missing",
    ),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where any user can get to it."""
    with tempfile.TemporaryDirectory(prefix="backlotfs-no-right-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", few_of(CASES, "a container without CAP_SYS_ADMIN"))
def test_the_reason_and_its_remedy(serve: Serve, folder: Path, name: str) -> None:
    """Of ``mount`` and ``doctor``: exit code 5, and nothing is mounted."""
    case = CASES[name]
    config = commands.write_config(folder / "config.toml", serve(video("reel.mov", 1000)))
    place = folder / "library"
    for made in (place, folder / "dev"):
        made.mkdir()
    before = case.before
    if _NOBODY[0] in before:
        for path in (folder, config, place):
            os.chown(path, NOBODY, NOBODY)
        before += _READING if out_of_reach() else ()
    profile = ("--config", config, "--profile", commands.PROFILE)

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*before, *commands.command(*words)],
            cwd=commands.ROOT, env=commands.environment(folder),
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip  # one program's arguments

    done = run("mount", *profile, place)
    assert done.returncode == 5, done.stderr
    (line,) = done.stderr.splitlines()
    assert case.says in line
    assert not is_mounted(place)
    done = run("doctor", *profile, place)
    assert done.returncode == 5, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "/dev/fuse  " in line]
    assert case.doctor_says in line
