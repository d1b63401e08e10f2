"""A mount whose share of API credits is spent for the rest of a window, and programs that wait."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from backlotfs.emulator import EmulatedAsset, Emulator
from tests.mounted.catalog.kept_library import status
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

#: More than four fifths of 300 credits.
ASSETS = [video(f"clip-{number:03d}.mov", 1000 + number) for number in range(400)]
#: What no program may take that does not wait: far below every wait here, for a busy machine.
AT_ONCE_S = 8.0


def program(*command: str | Path) -> subprocess.Popen[str]:
    """Start it; its output is kept."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_waiting(mount: Mount, process: subprocess.Popen[str]) -> bool:
    """Whether ``status`` tells that this program waits for a credit."""
    return any(entry["pid"] == process.pid for entry in status(mount)["waiting"])


def waiting_program(mount: Mount, *command: str | Path) -> subprocess.Popen[str]:
    """Start a program, and return once it waits for a credit."""
    process = program(*command)
    wait_until(lambda: is_waiting(mount, process) or process.poll() is not None, "it to wait")
    assert process.poll() is None, process.communicate()
    return process


def unsized(emulator: Emulator) -> list[EmulatedAsset]:
    """Assets that nobody has asked the API about, in the order of names."""
    asked = {entry.embed_code for entry in ended_requests(emulator, route="streams")}
    return [asset for asset in ASSETS if asset.embed_code not in asked]


def name_of(asset: EmulatedAsset) -> str:
    """Its file name."""
    return os.fspath(str(asset.original_file_name))
