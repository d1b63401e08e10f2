# SPDX-License-Identifier: Apache-2.0
"""``status --watch`` on a pty, and the pictures that it draws."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping

from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.mounting import Mount

#: Control sequences: the screen of a picture begins and ends, the cursor is hidden and shown.
BEGUN, ENDED = "\x1b[?1049h", "\x1b[?1049l"
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
SEQUENCE = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]")


class Terminal:
    """A pty on which ``status --watch`` runs; what it writes is gathered by a thread."""

    def __init__(
        self, mount: Mount, size: tuple[int, int], more: Mapping[str, str], *, orphaned: bool
    ) -> None:
        self._ours, theirs = os.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            commands.command("status", "--watch", mount.path),
            env=commands.environment(mount.folder, {"TERM": "xterm-256color", **more}),
            cwd=commands.ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=orphaned, process_group=None if orphaned else 0,
        )  # fmt: skip
        os.close(theirs)
        self.written = ""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def resize(self, columns: int, rows: int) -> None:
        """Change the size; the program gets the signal that a terminal would send."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    @property
    def picture(self) -> list[str]:
        """The lines of the last picture that is complete."""
        pictures = self.written.split("\x1b[H")
        shown = pictures[-2] if len(pictures) > 2 else ""
        return SEQUENCE.sub("", shown).replace("\r", "").split("\n")

    def wait_for(self, part: str) -> None:
        """Wait until a picture has this in it."""
        wait_until(lambda: any(part in line for line in self.picture), f"{part!r} in the picture")

    def end(self) -> None:
        """Kill what still runs, and gather the rest of what it wrote."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self._reading.join(20)
        os.close(self._ours)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while piece := os.read(self._ours, 65_536):
                self.written += piece.decode("utf-8", "replace")


@contextlib.contextmanager
def watching(
    mount: Mount, *, size: tuple[int, int] = (80, 24), orphaned: bool = False, **more: str
) -> Iterator[Terminal]:
    """A terminal of this size that shows the mount.

    :param orphaned: whether the program has a session of its own, without a shell; else it has a
        process group of its own in the session of this process, as a shell starts it.
    """
    terminal = Terminal(mount, size, more, orphaned=orphaned)
    try:
        yield terminal
    finally:
        terminal.end()
