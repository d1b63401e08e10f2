# SPDX-License-Identifier: Apache-2.0
"""The emulator as a process of its own, so that its work is not counted as ours."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_READY_S = 120.0


class Requests(NamedTuple):
    """The emulator's log of requests: the file it appends to."""

    path: Path

    def since(self, start_s: float, until_s: float, *, host: str = "api") -> Counter[str]:
        """Calls of the API by route that began in this time, seconds since the epoch.

        :param host: ``api``, where each costs a credit, or ``cdn``.
        """
        entries = map(json.loads, self.path.read_text("utf-8").splitlines())
        return Counter(
            entry["route"]
            for entry in entries
            if entry["route"] != "source"
            and entry["host"] == host
            and start_s <= entry["started_s"] < until_s
        )


class EmulatorProcess(NamedTuple):
    """A running emulator.

    :ivar config: a profile file that has its address and credentials.
    :ivar cdn_url: of the CDN host, if there is one.
    """

    config: Path
    requests: Requests
    cdn_url: str | None


@contextlib.contextmanager
def emulator_process(folder: Path, options: Sequence[str]) -> Iterator[EmulatorProcess]:
    """Run ``backlotfs emulator`` with these options; files go into ``folder``."""
    config, log = folder / "config.toml", folder / "requests.jsonl"
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "backlotfs", "emulator", "--port", "0", *options]
    command += ["--config-out", str(config), "--request-log", str(log)]
    process = subprocess.Popen(
        [*command, "--ready-fd", str(writing)],
        pass_fds=[writing],
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    try:
        with open(reading) as ready:
            if ready.read() != "READY\n" or process.stdout is None:
                raise SystemExit(f"the emulator did not start: {' '.join(command)}")
        cdn_url = None
        for _ in range(4 if "--cdn" in options else 3):
            label, _, rest = process.stdout.readline().partition(": ")
            cdn_url = rest.strip() if label == "CDN host" else cdn_url
        yield EmulatorProcess(config, Requests(log), cdn_url)
    finally:
        process.terminate()
        process.communicate(timeout=30)
