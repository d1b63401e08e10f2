# SPDX-License-Identifier: Apache-2.0
"""Files that the kernel reads itself: whether they are, and until they are."""

from __future__ import annotations

import os
from typing import Any

import pytest

from backlotfs import doctor
from backlotfs.emulator import EmulatedAsset
from backlotfs.kernel import passthrough
from backlotfs.mount.control.client import ask
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.mounting import Mount


def state(mount: Mount) -> dict[str, Any]:
    """What ``status`` says of it."""
    found: dict[str, Any] = ask(mount.path, "status")["passthrough"]
    return found


def in_use(mount: Mount, asset: EmulatedAsset) -> bool:
    """What the attribute of the file says."""
    return os.getxattr(mount.file_of(asset), "user.backlotfs.passthrough") == b"1"


def make_complete(mount: Mount, asset: EmulatedAsset) -> None:
    """Warm a file, and wait until the kernel is given its file; skip where it may not be."""
    done = commands.run("warm", mount.file_of(asset), home=mount.path.parent)
    assert done.returncode == 0, done.stderr

    def passed_through() -> bool:
        before = state(mount)["opens"]
        with mount.file_of(asset).open("rb"):
            return bool(state(mount)["off"]) or state(mount)["opens"] > before

    wait_until(passed_through, "the file to be complete", every_s=0.1)
    if reason := state(mount)["off"]:
        may = doctor.check_passthrough().verdict is doctor.Verdict.OK
        assert not may or reason == passthrough.STACKED, reason
        pytest.skip(f"this machine has no passthrough: {reason}")
