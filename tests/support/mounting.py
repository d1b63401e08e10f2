# SPDX-License-Identifier: Apache-2.0
"""One foreground mount in a process of its own, from start to a clean end.

Never in the test's own process: a test that waits in the kernel for a file system which it serves
itself waits for ever. For the same reason a watchdog kills a mount that lives too long: a system
call that hangs in it cannot be interrupted by pytest's timeout, only answered or cut off.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from backlotfs.emulator import EmulatedAsset, Emulator
from backlotfs.kernel.mount_table import mount_at
from tests.support import commands, mount_log
from tests.support.deadlines import wait_until
from tests.support.preloaded import PreloadedProgram
from tests.support.programs import run_program

#: No mount serves one test for longer, unless it says so; below pytest's timeout, so that it fails.
WATCHDOG_S = 100.0
#: From the start of the process to a mountpoint that answers.
START_S = 40.0
#: From SIGTERM to the end of the process: far more than the mount takes, for a busy machine.
END_S = 20.0


def is_mounted(mountpoint: Path) -> bool:
    """Whether anything is mounted there; asks the kernel's table, which never hangs."""
    return mount_at(mountpoint) is not None


def detach(mountpoint: Path) -> None:
    """Unmount whatever is there lazily, and fail every call that waits in it.

    Forced, because a daemon that was killed while one of its own threads waited in its own mount
    cannot even die before that.
    """
    if is_mounted(mountpoint):
        subprocess.run(["umount", "-f", "-l", mountpoint], check=False, capture_output=True)


@contextlib.contextmanager
def shared_mount() -> Iterator[Path]:
    """A folder on a mount of its own, which is shared, with the mountpoint ``backlot`` in it.

    So a container's ``rshared`` volume has it, and a node of Kubernetes. Only root makes one.
    """
    with tempfile.TemporaryDirectory(prefix="backlotfs-shared-") as place:
        folder = Path(place)
        run_program("mount", "--bind", folder, folder)
        try:
            run_program("mount", "--make-rshared", folder)
            (folder / "backlot").mkdir()
            yield folder
        finally:
            detach(folder / "backlot")
            detach(folder)


@contextlib.contextmanager
def served_by(program: str, mountpoint: Path, *arguments: str | Path) -> Iterator[None]:
    """A file system that is not ours, while the body runs.

    :param program: Python that mounts on ``mountpoint``, which is among its ``arguments``, and
        stays.
    """
    server = subprocess.Popen([sys.executable, "-c", program, *arguments])
    try:
        wait_until(lambda: is_mounted(mountpoint), "the mount")
        yield
    finally:
        detach(mountpoint)
        server.wait(END_S)


@contextlib.contextmanager
def held_open(path: Path) -> Iterator[int]:
    """A descriptor for reading; that closing it fails, as it must after the mount's end, is fine.

    Also ESTALE at close is swallowed: a test that is about it closes by itself.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


class Mount:
    """``backlotfs mount -f`` of one emulator's library.

    Use it as a context manager, or call `start` and `close`. It expects to end with exit code 0,
    nothing mounted, and a log without warnings; `expect_exit` and `expect_log` claim otherwise.
    """

    def __init__(
        self,
        emulator: Emulator,
        folder: Path,
        *options: str,
        extra: Mapping[str, str] | None = None,
        life_s: float = WATCHDOG_S,
    ) -> None:
        """Start nothing yet.

        :param folder: for the mountpoint, profile file and log; may be shared in succession.
        :param options: of ``backlotfs mount``.
        :param extra: environment variables; with any, a new interpreter starts.
        :param life_s: that it may serve one test; for a test with a longer time limit: below that.
        """
        self.emulator = emulator
        self.folder = folder
        self.path = folder / "library"
        self.options = options
        self._extra = extra
        self._life_s = life_s
        self._log_path = folder / f"mount-{len(list(folder.glob('mount-*.log')))}.log"
        self._claimed: list[re.Pattern[str]] = []
        self._exit_code = 0
        self._process: subprocess.Popen[str] | PreloadedProgram | None = None
        self._watchdog: threading.Timer | None = None

    @property
    def process(self) -> subprocess.Popen[str] | PreloadedProgram:
        """The mount's process."""
        assert self._process is not None, "the mount has not been started"
        return self._process

    def __truediv__(self, name: str) -> Path:
        """The path of a file on the mount."""
        return self.path / name

    def file_of(self, asset: EmulatedAsset) -> Path:
        """The path of an asset whose name is an ordinary one, and given to it alone."""
        assert asset.original_file_name is not None
        return self.path / asset.original_file_name

    def log_text(self) -> str:
        """All it has written so far."""
        return self._log_path.read_text("utf-8", "replace")

    def expect_log(self, pattern: str) -> None:
        """Claim warnings and errors of the log that match: they do not fail the test."""
        self._claimed.append(re.compile(pattern))

    def expect_exit(self, code: int) -> None:
        """The process is to end with this code (negative: by this signal)."""
        self._exit_code = code

    def start(self) -> Mount:
        """Mount; returns once the mountpoint answers.

        :raises AssertionError: with the log, when it ends or does not answer in time.
        """
        self.launch()
        try:
            wait_until(
                lambda: self.process.poll() is not None or is_mounted(self.path),
                "the mount or its end",
                timeout_s=START_S,
            )
            assert self.process.poll() is None, f"it ended at once:\n{self.log_text()}"
            os.stat(self.path)  # answered as soon as the session is
        except BaseException:
            self._kill()
            raise
        return self

    def launch(self) -> Mount:
        """Start the process and wait for nothing."""
        self.path.mkdir(exist_ok=True)
        config = commands.write_config(self.folder / "config.toml", self.emulator)
        words: list[str | Path] = [
            "mount",
            "-f",
            "--config",
            config,
            "--profile",
            commands.PROFILE,
            *self.options,
        ]
        with self._log_path.open("w", encoding="utf-8") as log:
            if self._extra:
                self._process = commands.start(
                    *words, self.path, home=self.folder, log=log, extra=self._extra
                )
            else:
                self._process = PreloadedProgram(
                    [*map(str, words), str(self.path)],
                    cwd=commands.ROOT,
                    environment=commands.environment(self.folder),
                    log=self._log_path,
                )
        self._watch()
        _LAUNCHED.add(self)
        return self

    def _watch(self) -> None:
        self._watchdog = threading.Timer(self._life_s, self._end_the_hard_way)
        self._watchdog.daemon = True
        self._watchdog.start()

    def renew(self) -> None:
        """Let it live for another `WATCHDOG_S`, or what it was given, if it runs."""
        if self._watchdog is not None and self._watchdog.is_alive():
            self._watchdog.cancel()
            self._watch()

    def terminate(self, *, within_s: float = END_S) -> int:
        """SIGTERM; the exit code. :raises subprocess.TimeoutExpired: it did not end in time."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def kill(self) -> None:
        """SIGKILL, which leaves a dead mount; the exit code is expected to say so.

        :raises subprocess.TimeoutExpired: it does not die.
        """
        self.expect_exit(-signal.SIGKILL)
        self.process.kill()
        self.process.wait(END_S)

    def close(self) -> None:
        """End it, and look at what is left.

        :raises AssertionError: a wrong exit code, a mount left behind, or an unclaimed warning.
        """
        if self._process is None:
            return
        try:
            if self.process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.terminate()
            code, left = self.process.poll(), is_mounted(self.path)
        finally:
            self._kill()
        log = self.log_text()
        assert code == self._exit_code, f"exit code {code}, not {self._exit_code}:\n{log}"
        assert not left, f"{self.path} is still mounted after its process ended:\n{log}"
        loud = mount_log.unexpected(log, self._claimed)
        assert not loud, "unexpected in the mount's log:\n" + "\n".join(loud)

    def __enter__(self) -> Mount:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an error of the test its own complaints would only hide that."""
        if error is None:
            self.close()
        else:
            self._kill()

    def _kill(self) -> None:
        _LAUNCHED.discard(self)
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._end_the_hard_way()
        if self._process is not None:
            self._process.wait(END_S)

    def _end_the_hard_way(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        detach(self.path)


#: The mounts that run, or have ended by themselves and were not closed yet.
_LAUNCHED: set[Mount] = set()


def renew_all() -> None:
    """A test begins: the mounts that it shares with the tests before it are watched for it anew."""
    for mount in list(_LAUNCHED):
        mount.renew()
