# SPDX-License-Identifier: Apache-2.0
"""A mount as an ordinary user: through fusermount, with no right over anything, and its repair.

Run by root it is done as `nobody`, in a mount namespace with a ``/dev/fuse`` that all may open; the
machine's own, and ``/etc/fuse.conf``, stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support import commands
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.namespaces import LEAVE_OTHER_MOUNTS

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 2 * MIB + 7)
NOBODY = 65534
#: As root, in namespaces of its own: whatever is left in them ends and is unmounted with them.
_PREPARE = f"""
{LEAVE_OTHER_MOUNTS}
mount -t tmpfs -o mode=755 none "$1"
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
shift
exec setpriv "$@"
"""
#: As the user: what each step gave, as one JSON object.
_SESSION = """
import hashlib, json, os, signal, subprocess, sys
from pathlib import Path
from tests.support.deadlines import wait_until
config, place = sys.argv[1:]
seen = {"uid": os.geteuid()}
def backlotfs(*words):
    command = [sys.executable, "-m", "backlotfs", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]
def table():
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        return [line for line in lines if place in line]
def mount(*words):
    log = ("--log-file", f"{os.environ['HOME']}/log")
    return backlotfs("mount", "--config", config, "--profile", "test", *log, *words, place)
seen["refused"] = mount("--allow-other")
seen["mount"] = mount()
seen["table"] = table()
seen["owner"] = [os.stat(f"{place}/reel.mov").st_uid, os.stat(f"{place}/reel.mov").st_mode & 0o777]
seen["sha"] = hashlib.sha256(open(f"{place}/reel.mov", "rb").read()).hexdigest()
with open(f"{place}/reel.mov", "rb"):
    seen["busy"] = backlotfs("umount", place)
status = json.loads(backlotfs("status", "--json", place)[1])
os.kill(status["pid"], signal.SIGKILL)
stat = Path(f"/proc/{status['pid']}/stat")
wait_until(lambda: not stat.exists() or ") Z " in stat.read_text(), "its end")
seen["repaired"] = mount()
seen["sha again"] = hashlib.sha256(open(f"{place}/reel.mov", "rb").read()).hexdigest()
seen["umount"] = backlotfs("umount", place)
seen["left"] = table()
print(json.dumps(seen))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of that user's own, where it can get to it."""
    folder = Path(tempfile.mkdtemp(prefix="backlotfs-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def out_of_reach() -> bool:
    """Whether the interpreter or this checkout lies where only root gets to."""
    needed = (Path(sys.executable).resolve(), Path(sys.prefix), commands.ROOT / "backlotfs")
    return not all(part.stat().st_mode & 0o001 for path in needed for part in path.parents)


def as_nobody(home: Path, config: Path, place: Path) -> dict[str, Any]:
    """What the session saw."""
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if out_of_reach():
        # Reading what lies in root's home, and nothing else; fusermount never has it.
        identity += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    device = home / "device"
    device.mkdir()
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    script = [sys.executable, "-c", _SESSION, str(config), str(place)]
    done = subprocess.run(
        [
            *("unshare", *namespaces, "--propagation", "private", "sh", "-ec", _PREPARE, "sh"),
            *(str(device), *identity, *script),
        ],
        cwd=commands.ROOT,
        env=commands.environment(home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.skipif(os.geteuid() != 0, reason="the other mounted tests run as an ordinary user")
def test_an_ordinary_user_mounts_repairs_and_unmounts(serve: Serve, home: Path) -> None:
    """Right bytes, its own files, safe options; a busy mount is named and a dead one repaired."""
    config = commands.write_config(home / "config.toml", serve(REEL))
    place = home / "library"
    place.mkdir()
    for path in (config, place):
        os.chown(path, NOBODY, NOBODY)
    seen = as_nobody(home, config, place)
    assert seen["uid"] == NOBODY
    assert seen["refused"][0] == 5
    assert "user_allow_other" in seen["refused"][2]
    assert (seen["mount"][0], seen["mount"][2]) == (0, "")
    (line,) = seen["table"]
    options = set(line.replace(" ", ",").split(","))
    assert {"ro", "nosuid", "nodev", "noexec", f"user_id={NOBODY}"} <= options
    assert not {"allow_other", "default_permissions"} & options
    assert seen["owner"] == [NOBODY, 0o644]
    digest = hashlib.sha256(origin_bytes(REEL)).hexdigest()
    assert (seen["sha"], seen["sha again"]) == (digest, digest)
    assert seen["busy"][0] == 1
    assert "in use by python" in seen["busy"][2]
    assert seen["repaired"][0] == 0
    assert seen["repaired"][2] == f"backlotfs: cleared the dead mount on {place}\n"
    assert seen["umount"] == [0, "", ""]
    assert seen["left"] == []
