# SPDX-License-Identifier: Apache-2.0
"""What a process holds, from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple


class Figures(NamedTuple):
    """One look."""

    threads: int
    descriptors: int
    resident_mib: float


def look_at(pid: int) -> Figures:
    """:raises OSError: it is gone."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(re.findall(r"^(Threads|VmRSS):\s+(\d+)", status, re.M))
    return Figures(
        int(fields["Threads"]), len(os.listdir(f"/proc/{pid}/fd")), int(fields["VmRSS"]) / 1024
    )


def growth(looks: list[Figures]) -> Figures:
    """How much more the last third shows at its highest than the second: flat is 0 or less."""
    third = max(1, len(looks) // 3)
    before, after = looks[third : 2 * third] or looks, looks[2 * third :] or looks
    pairs = zip(zip(*before, strict=True), zip(*after, strict=True), strict=True)
    threads, descriptors, resident = (max(b) - max(a) for a, b in pairs)
    return Figures(int(threads), int(descriptors), resident)
