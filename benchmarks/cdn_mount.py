# SPDX-License-Identifier: Apache-2.0
"""A first mount beside a CDN host, in real time: how long until every size is known."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from backlotfs.mount.control.client import ask
from benchmarks.emulation import emulator_process
from benchmarks.mounts import backlotfs_command, mounted

_PATIENCE_S = 180.0
_LOOK_S = 0.25


class CdnMount(NamedTuple):
    """:ivar sized_s: from the start of the command to the last size.

    :ivar calls: of the API's own host, by route; each cost a credit.
    :ivar cdn_calls: of the CDN host.
    """

    listed_s: float
    sized_s: float
    cpu_s: float
    calls: Counter[str]
    cdn_calls: Counter[str]


def first_mount(assets: int, latency_s: float) -> CdnMount:
    """Mount a library that no catalog knows; every answer of either host takes that longer.

    :raises SystemExit: it takes more than three minutes.
    """
    with tempfile.TemporaryDirectory(prefix="backlotfs-bench-") as name:
        folder = Path(name)
        plan = folder / "latency.json"
        plan.write_text(json.dumps({"rules": [{"fault": "delay", "seconds": latency_s}]}))
        options = [f"--synthetic={assets}x5M", "--cdn", f"--faults={plan}"]
        with emulator_process(folder, options) as emulator:
            mountpoint = folder / "m"
            command = backlotfs_command(
                emulator.config, mountpoint, cache_dir=folder / "cache", cdn_url=emulator.cdn_url
            )
            began_at_s = time.time()
            with mounted("backlotfs", command, mountpoint, log=folder / "log") as mount:
                while not _all_sized(mountpoint, assets):
                    if time.monotonic() > mount.started_s + _PATIENCE_S:
                        raise SystemExit(f"sizes are missing after {_PATIENCE_S:.0f} s")
                    time.sleep(_LOOK_S)
                return CdnMount(
                    mount.answered_s - mount.started_s,
                    time.monotonic() - mount.started_s,
                    mount.cpu_s(),
                    emulator.requests.since(began_at_s, time.time()),
                    emulator.requests.since(began_at_s, time.time(), host="cdn"),
                )


def _all_sized(mountpoint: Path, assets: int) -> bool:
    sizes = ask(mountpoint, "status")["sizes"]
    return bool(sizes["sized"] == assets)
