# SPDX-License-Identifier: Apache-2.0
"""A Dask scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class DaskCluster:
    """A scheduler at one address, which may be restarted, and workers. A context manager."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], protocol: Literal["tcp", "tls"] = "tcp"
    ) -> None:
        """Start nothing yet. :param folder: for logs and the workers' own files."""
        self._folder = folder
        self._environ = dict(environ)
        self._port = free_port()
        self._host = f"{protocol}://127.0.0.1"
        self.address = f"{self._host}:{self._port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> None:
        """Start it; workers wait until it answers."""
        place = ("--host", self._host, "--port", str(self._port))
        dashboard = ("--dashboard-address", "127.0.0.1:0", "--no-show")
        self._scheduler = self._start("scheduler", *place, *dashboard)

    def start_worker(self, threads: int = 4, **environ: str) -> None:
        """Start a worker without a nanny: whoever kills it has killed it."""
        more = ("--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        place = ("--local-directory", str(self._folder), "--memory-limit", "0")
        self.workers.append(self._start("worker", self.address, *more, *place, **environ))

    def kill_scheduler(self) -> None:
        """Kill it as a crash would."""
        assert self._scheduler is not None
        self._scheduler.send_signal(signal.SIGKILL)
        self._scheduler.wait()

    def kill_worker(self) -> None:
        """Kill one as a crash would."""
        worker = self.workers.pop()
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def log(self) -> str:
        """All that they wrote."""
        return "\n".join(path.read_text("utf-8") for path in sorted(self._folder.glob("*.log")))

    def _start(self, what: str, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        path = self._folder / f"{what}-{len(self._started)}.log"
        with path.open("wb") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "dask", what, *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self._environ, **environ},
                cwd=self._folder,
            )
        self._started.append(started)
        return started

    def __enter__(self) -> Self:
        """Start the scheduler."""
        self.start_scheduler()
        return self

    def __exit__(self, *_failure: object) -> None:
        """Kill what still runs."""
        for process in self._started:
            process.kill()
            process.wait()
