# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/tutorial.md, run as they stand there, and what they print."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.support import commands
from tests.support.mounting import detach
from tests.support.written_commands import Entered, Reader, blocks

PAGE = commands.ROOT / "docs" / "tutorial.md"
_SERVER = "backlotfs emulator"


def written() -> list[str]:
    """The commands of the page, in their order."""
    return [line for block in blocks(PAGE) for line in block]


def run_all(folder: Path) -> list[Entered]:
    """All of them in a new folder, the server beside the others; nothing is left mounted.

    :raises AssertionError: the server does not start.
    """
    reader = Reader(folder)
    done = []
    with contextlib.ExitStack() as stack:
        for mountpoint in ("library", "by-label"):
            stack.callback(detach, reader.home / mountpoint)
        for command in written():
            if command.startswith(_SERVER):
                stack.enter_context(reader.server(command, reader.home / "library.toml"))
            else:
                done.append(reader.enter(command))
    return done
