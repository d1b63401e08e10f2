"""`backlotfs mount` and `backlotfs umount` as a user types them, and a mount that surely ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from backlotfs.demo.interruption import Interruption
from backlotfs.demo.narration import Narrator
from backlotfs.demo.programs import environment
from backlotfs.kernel.mount_table import mount_at

_BACKLOTFS = (sys.executable, "-m", "backlotfs")
_START_S = 30.0
_UNMOUNT_S = 20.0
_GONE_S = 5.0
_POLL_S = 0.05
_LOG_LINES = 15


class MountFailed(Exception):
    """`backlotfs mount` failed; the message is what it said.

    :ivar status: its exit status, which tells the cause (5: FUSE is not usable here).
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def write_profile(path: Path, *, api_url: str, api_key: str, api_secret: str) -> None:
    """A configuration with the profile ``demo``, readable by its owner alone."""
    values = {"api_url": api_url, "api_key": api_key, "api_secret": api_secret}
    # a JSON string of ASCII is a TOML string
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as config:
        config.write("[profiles.demo]\n" + "".join(lines))


class BackgroundMount:
    """A mount in the background, in a session of its own so that Ctrl-C reaches only the demo.

    :ivar mountpoint: where; absolute, without symlinks.
    """

    def __init__(
        self, mountpoint: Path, files: Path, narrator: Narrator, interruption: Interruption
    ) -> None:
        """Nothing runs yet.

        :param files: a folder for its configuration (``config.toml``) and log.
        """
        self.mountpoint = mountpoint
        self._files = files
        self._narrator = narrator
        self._interruption = interruption
        self._launcher: subprocess.Popen[bytes] | None = None

    @property
    def is_live(self) -> bool:
        """Whether the kernel has it."""
        return mount_at(self.mountpoint) is not None

    def start(self) -> None:
        """Mount; back when the files are there.

        :raises MountFailed: when they are not.
        :raises Stopped: on a signal; `stop` then ends what was begun.
        """
        log = self._files / "mount.log"
        command = [
            *(*_BACKLOTFS, "mount", "--config", str(self._files / "config.toml")),
            *("--profile", "demo", "--log-file", str(log), str(self.mountpoint)),
        ]
        self._narrator.command(command)
        # A file, not a pipe: the daemon could hold a pipe open for as long as it lives.
        said = self._files / "mount.said"
        with said.open("wb") as output, self._interruption.hold():
            self._launcher = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
            )
        try:
            status = self._launcher.wait(_START_S)
        except subprocess.TimeoutExpired:
            raise MountFailed(f"mount is not ready after {_START_S:g} s", status=1) from None
        words = said.read_text("utf-8", "replace").strip().removeprefix("backlotfs: ")
        if status == 0 and self.is_live:
            self._narrator.say(words)
            return
        last_lines = ""
        with suppress(OSError):
            last_lines = "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:])
        raise MountFailed(words or last_lines or f"mount ended with {status}", status=status or 1)

    def stop(self) -> None:
        """Unmount, whatever state it is in. Signals have to be held. Never raises."""
        if self._launcher is None:
            return
        # Killed half-way, it could leave a daemon that mounts after we have looked.
        try:
            self._launcher.wait(_START_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._launcher.pid, signal.SIGKILL)
            self._launcher.wait()
        if not self.is_live:
            return
        politely = [*_BACKLOTFS, "umount", str(self.mountpoint)]
        self._narrator.command(politely)
        by_force = (
            ["fusermount3", "-u", "-z", str(self.mountpoint)],
            ["umount", "--lazy", str(self.mountpoint)],
        )
        reason = self._failure_of(politely)
        if reason is not None:
            self._narrator.complain(reason)
        elif self._is_gone():
            return
        for command in by_force:
            if self._failure_of(command) is None and self._is_gone():
                return

    def _failure_of(self, command: list[str]) -> str | None:
        try:
            finished = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_UNMOUNT_S,
                check=False,
                env=environment(),
                start_new_session=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if finished.returncode == 0:
            return None
        return finished.stderr.strip().removeprefix("backlotfs: ") or f"{command} failed"

    def _is_gone(self) -> bool:
        deadline_s = time.monotonic() + _GONE_S
        while self.is_live and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        return not self.is_live
