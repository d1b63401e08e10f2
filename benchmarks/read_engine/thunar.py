# SPDX-License-Identifier: Apache-2.0
"""A copy by the file manager Thunar, on a screen that nobody looks at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.deadlines import wait_until
from tests.support.screen import screen

#: Longest time for the start of Thunar and for a copy.
_START_S, _COPY_S = 60.0, 300.0
_NAME = "org.xfce.FileManager"


@contextlib.contextmanager
def thunar(home: Path) -> Iterator[Callable[[Path, Path, Sequence[str], int], None]]:
    """Start Thunar; yield a function that has it copy a folder.

    The function takes the folder, the path of the copy, the names of the files and the number of
    their bytes, and returns when all bytes are in the copy.

    :param home: the home folder of its user, which is made.
    :raises AssertionError: Thunar does not start, or the copy is not complete in time.
    """
    home.mkdir(mode=0o700)
    with screen(home) as desktop, desktop.running("thunar", "--daemon"):

        def call(*words: str) -> str:
            return desktop.run("dbus-send", "--session", "--print-reply", *words)

        def is_running() -> bool:
            said = call(
                *("--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"),
                f"string:{_NAME}",
            )
            return "true" in said

        wait_until(is_running, "Thunar to start", timeout_s=_START_S)

        def copy(folder: Path, target: Path, names: Sequence[str], size_bytes: int) -> None:
            def is_complete() -> bool:
                try:
                    if len(os.listdir(target)) < len(names):
                        return False
                except FileNotFoundError:
                    return False
                return sum((target / name).stat().st_size for name in names) == size_bytes

            call(
                *(f"--dest={_NAME}", "/org/xfce/FileManager", f"{_NAME}.CopyTo", "string:/"),
                *(f"array:string:{folder.as_uri()}", f"array:string:{target.as_uri()}"),
                *(f"string:{desktop.environment['DISPLAY']}", "string:"),
            )
            wait_until(is_complete, "the copy", timeout_s=_COPY_S)

        yield copy
