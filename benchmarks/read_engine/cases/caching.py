# SPDX-License-Identifier: Apache-2.0
"""What was read before: by an earlier mount, and by an earlier open."""

from __future__ import annotations

from benchmarks.mounts import MountProcess
from benchmarks.origin import LOCAL
from benchmarks.read_engine.arena import Arena
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.cases.copying import LARGE, copied
from benchmarks.read_engine.contestants import OURS, RCLONE, RCLONE_FULL, Contestant
from benchmarks.read_engine.sources import GIB, MIB
from benchmarks.read_engine.targets import Target

#: Memory that is reclaimed for other programs, or proactively, is nothing that a mount can keep.
_TRIES = 3


class WarmCopy(Case):
    """``cp`` of 1 GiB on a new mount that has an earlier one's cache."""

    name = "warm-cp"
    title = "disk cache warm, `cp` of 1 GiB"
    sources = LARGE
    profile = LOCAL
    contestants = (OURS, RCLONE_FULL)
    targets = (
        Target(metric="rate_mb_s", at_least=2, of=(RCLONE_FULL.name,)),
        Target(metric="fetched_ratio", at_most=0),
    )
    shown = "rate_mb_s"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """The second mount's copy."""
        cache = arena.folder / f"{contestant.name}-kept"
        if not cache.exists():
            with arena.mount(contestant, cache=cache) as mount:
                copied(arena, mount, "large.bin")
        with arena.mount(contestant, cache=cache) as mount:
            return copied(arena, mount, "large.bin").values(GIB)


class ReRead(Case):
    """``cp`` of 1 GiB that the kernel still has from another open."""

    name = "page-cache"
    title = "page cache, `cp` of 1 GiB again"
    sources = LARGE
    profile = LOCAL
    contestants = (OURS, RCLONE)
    targets = (
        # opening and closing are some hundred bytes; one answer to a read would be 0.125
        Target(metric="again_served_mib", at_most=0.05, unit="MiB"),
    )
    shown = "again_mb_s"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """The best of three further copies on one mount: the kernel may have given pages up."""
        with arena.mount(contestant) as mount:
            copied(arena, mount, "large.bin")
            return min(
                (_again(arena, mount) for _ in range(_TRIES)),
                key=lambda numbers: numbers["again_served_mib"],
            )


def _again(arena: Arena, mount: MountProcess) -> dict[str, float]:
    before = mount.written_bytes()
    again = copied(arena, mount, "large.bin").values(GIB)
    return {
        "again_mb_s": again["rate_mb_s"],
        "again_served_mib": (mount.written_bytes() - before) / MIB,
        "fetched_ratio": again["fetched_ratio"],
    }


CASES: tuple[Case, ...] = (WarmCopy(), ReRead())
