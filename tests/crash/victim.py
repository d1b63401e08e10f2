# SPDX-License-Identifier: Apache-2.0
"""A mount that will be killed, and what may not be left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.mounting import START_S, detach

#: Little of both, so that blocks are evicted all the time; listed anew at every occasion.
_OPTIONS = ("--memory", "4M", "--cache-size", "8M", "--metadata-ttl", "1s")
_MOUNTED = "INFO backlotfs.mount.serve: mounted"
#: No round lasts longer: a mount that hangs is cut off, so that whoever waits in it gets an error.
_WATCHDOG_S = 60.0


class Victim:
    """One process of ``backlotfs mount -f``, in a session of its own.

    :ivar path: where it mounts.
    """

    def __init__(self, config: Path, folder: Path, log: Path) -> None:
        """Start it, and wait for nothing.

        :param folder: its home; holds the mountpoint ``library``.
        :param log: takes all it says.
        """
        self.path = folder / "library"
        self._log = log
        words = ("mount", "-f", "--config", config, "--profile", commands.PROFILE, *_OPTIONS)
        with log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                commands.command(*words, self.path),
                cwd=commands.ROOT,
                env=commands.environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._watchdog = threading.Timer(_WATCHDOG_S, self._cut_off)
        self._watchdog.daemon = True
        self._watchdog.start()

    def log_text(self) -> str:
        """All it has said so far."""
        return self._log.read_text("utf-8", "replace")

    def wait_until_mounted(self) -> None:
        """:raises AssertionError: with its log, when it ends or does not mount in time."""
        wait_until(
            lambda: self.process.poll() is not None or _MOUNTED in self.log_text(),
            "the mount or its end",
            timeout_s=START_S,
        )
        assert self.process.poll() is None, f"it did not mount:\n{self.log_text()}"

    def ask_to_end(self) -> None:
        """SIGTERM; the kill may come while it ends."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL; its exit code, which is not -9 if it had ended by itself.

        :raises subprocess.TimeoutExpired: it does not die.
        """
        self.process.kill()
        return self.wait()

    def wait(self) -> int:
        """Its exit code. :raises subprocess.TimeoutExpired: it does not end."""
        code = self.process.wait(10)
        self._watchdog.cancel()
        return code

    def orphans(self) -> list[str]:
        """Command lines of what it started and what still runs: all of its session."""
        left = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # pid (comm) state ppid pgrp session: the name may hold anything, even brackets
                state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state != "Z":
                    left.append((process / "cmdline").read_text().replace("\0", " "))
        return left

    def _cut_off(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        detach(self.path)
