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


class MountProcess:
    """A running mount."""

    def __init__(self, name: str, mountpoint: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.mountpoint = mountpoint
        self._process = process

    def cpu_s(self) -> float:
        """User and system seconds used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def pss_bytes(self) -> int:
        """Memory, shared pages counted by their share."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024


@contextlib.contextmanager
def mounted(name: str, command: Sequence[str], mountpoint: Path) -> Iterator[MountProcess]:
    """Run a mount command that stays in the foreground, until the mountpoint answers."""
    mountpoint.mkdir()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not os.path.ismount(mountpoint):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not mount: {' '.join(command)}")
            time.sleep(0.05)
        yield MountProcess(name, mountpoint, process)
    finally:
        subprocess.run(["umount", "-l", str(mountpoint)], check=False)
        process.terminate()
        process.wait(10)


def backlotfs_command(config: Path, mountpoint: Path) -> list[str]:
    """Ours, with defaults."""
    program = [sys.executable, "-m", "backlotfs", "mount", "-f"]
    return [*program, "--config", str(config), "--profile", "emulator", str(mountpoint)]


def rclone_command(url: str, mountpoint: Path, flags: Sequence[str] = ()) -> list[str]:
    """rclone's HTTP backend over the same host."""
    program = str(Path(sys.executable).parent / "rclone")
    remote = ["--http-url", url, "--config", "/dev/null", "--read-only"]
    return [program, "mount", ":http:", str(mountpoint), *remote, *flags]
