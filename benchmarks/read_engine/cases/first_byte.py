# SPDX-License-Identifier: Apache-2.0
"""How long the first byte of a file takes when its URL is known."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import OURS, RCLONE, TUNED, Contestant
from benchmarks.read_engine.sources import MIB, stamp, stamped_folder
from benchmarks.read_engine.targets import Target

#: In no order that could be predicted: otherwise the heads are fetched before the files are opened.
_NAMES = [f"head-{number:02d}.mov" for number in (4, 9, 1, 7, 3, 0, 6, 2, 8, 5)]
_KEPT = 5
_READ_BYTES = 4096


class FirstByte(Case):
    """Ten files, each opened once: half find a kept-alive connection, half a host that left."""

    name = "remote-first-byte"
    title = "remote, first byte, URL known"
    sources = Sources(
        "heads", lambda folder: stamped_folder(folder, dict.fromkeys(_NAMES, 64 * MIB)), MIB
    )
    contestants = (OURS, RCLONE, *TUNED)
    targets = (
        Target(metric="kept_ms", at_most=1.3 * 30, unit="ms"),
        Target(metric="new_ms", at_most=1.3 * 90, unit="ms"),
    )
    shown = "kept_ms"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """Medians over the files of one mount."""
        kept_ms, new_ms = [], []
        with arena.mount(contestant) as mount:
            mark = arena.origin.mark()
            for name in _NAMES[:_KEPT]:
                kept_ms.append(_first_read_ms(mount.mountpoint / name))
                arena.origin.wait_until_quiet()
            found = [one.on_connection > 1 for one in arena.origin.answers_since(mark)]
            for name in _NAMES[_KEPT:]:
                arena.origin.drop_connections()
                new_ms.append(_first_read_ms(mount.mountpoint / name))
        return {
            "kept_ms": statistics.median(kept_ms),
            "kept_share": statistics.mean(found),
            "new_ms": statistics.median(new_ms),
        }


def _first_read_ms(path: Path) -> float:
    """From the open to the data."""
    start_s = time.monotonic()
    file = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(file, _READ_BYTES, 0)
    finally:
        took_s = time.monotonic() - start_s
        os.close(file)
    if not data.startswith(stamp(path.name.encode(), 0)):
        raise SystemExit(f"{path} begins with wrong bytes")
    return took_s * 1e3
