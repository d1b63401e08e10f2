# SPDX-License-Identifier: Apache-2.0
"""A mount in a user namespace, as in a container without rights: by mount(2), without a helper.

The kernel offers passthrough there, and refuses it when it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backlotfs.kernel import passthrough
from tests.conftest import Serve
from tests.support import commands
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.namespaces import LEAVE_OTHER_MOUNTS

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 2 * MIB + 7)
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
#: Inside: what each step gave, as one JSON object.
_SESSION = """
import hashlib, json, os, subprocess, sys
from pathlib import Path
from backlotfs.doctor import check_passthrough
from backlotfs.mount.control.client import ask
from tests.support.deadlines import wait_until
config, place = sys.argv[1:]
reel = f"{place}/reel.mov"
def backlotfs(*words):
    command = [sys.executable, "-m", "backlotfs", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]
seen = {"doctor": check_passthrough().detail}
log = ("--log-file", f"{os.environ['HOME']}/log", "--cache-size", "64M")
seen["mount"] = backlotfs("mount", "--config", config, "--profile", "test", *log, place)
def status():
    return ask(Path(place), "status")["passthrough"]
def tried():
    Path(reel).read_bytes()
    return bool(status()["off"] or status()["opens"])
wait_until(tried, "passthrough", every_s=0.1)
seen["passthrough"] = status()
with open(reel, "rb") as file:
    seen["sha"] = hashlib.sha256(file.read()).hexdigest()
    seen["in use"] = os.getxattr(reel, "user.backlotfs.passthrough").decode()
seen["umount"] = backlotfs("umount", place)
print(json.dumps(seen))
"""


def _without_other_mounts() -> list[str]:
    """A program that only root can use: who has the namespace of a user only cannot unmount."""
    if os.geteuid():
        return []
    path = "path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    script = f'{path}\n{LEAVE_OTHER_MOUNTS}\nPATH=$path; exec "$@"'
    return [
        "/usr/bin/unshare",
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-ec",
        script,
        "sh",
    ]


def test_a_mount_in_a_user_namespace(serve: Serve, tmp_path: Path) -> None:
    """Right bytes, and it says why the kernel does not read files itself."""
    if subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no user namespaces")
    config = commands.write_config(tmp_path / "config.toml", serve(REEL))
    place = tmp_path / "library"
    place.mkdir()
    # its interpreter alone is on the path: no fusermount3
    environment = commands.environment(tmp_path, {"PATH": str(Path(sys.executable).parent)})
    program = ["/usr/bin/env", sys.executable, "-c", _SESSION, str(config), str(place)]
    done = subprocess.run(
        [*_without_other_mounts(), "/usr/bin/unshare", *_UNSHARE[1:], *program],
        cwd=commands.ROOT, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip  # one program's arguments
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    for step in ("mount", "umount"):
        assert (step, seen[step][0], seen[step][2]) == (step, 0, "")
    assert seen["sha"] == hashlib.sha256(origin_bytes(REEL)).hexdigest()
    assert seen["passthrough"]["opens"] == 0
    assert seen["passthrough"]["off"] in (passthrough.NOT_ALLOWED, passthrough.OLD_KERNEL)
    assert seen["in use"] == "0"
    assert seen["doctor"].startswith("off: ")
