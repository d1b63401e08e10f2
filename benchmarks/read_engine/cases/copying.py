# SPDX-License-Identifier: Apache-2.0
"""Copies as programs make them: one large file, and a folder of smaller ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.mounts import MountProcess
from benchmarks.origin import LOCAL, REMOTE, OriginProfile
from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import OURS, PEERS, RCLONE, TUNED, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.sources import GIB, random_file, stamped_folder
from benchmarks.read_engine.targets import Target

LARGE = Sources("large", lambda folder: random_file(folder / "large.bin", GIB), 4 * GIB)
_CLIPS = {f"clip-{number:02d}.mov": 20_000_000 for number in range(20)}
CLIPS = Sources("clips", lambda folder: stamped_folder(folder, _CLIPS), GIB)


def copied(arena: Arena, mount: MountProcess, name: str) -> Meter:
    """``cp`` of a file of the mount to tmpfs, and afterwards a look at the copy.

    :raises subprocess.CalledProcessError: the copy failed, or is not equal.
    """
    copy = arena.folder / "copy"
    with Meter(mount, arena.origin) as meter:
        subprocess.run(["cp", str(mount.mountpoint / name), str(copy)], check=True)
    subprocess.run(["cmp", str(arena.sources / name), str(copy)], check=True)
    copy.unlink()
    return meter


class LargeCopy(Case):
    """``cp`` of 1 GiB, cold."""

    sources = LARGE
    shown = "rate_mb_s"

    def __init__(
        self, profile: OriginProfile, peers: tuple[Contestant, ...], targets: tuple[Target, ...]
    ) -> None:
        self.name = f"{profile.name}-cp"
        self.title = f"{profile.name}, `cp` of 1 GiB, cold"
        self.profile = profile
        self.contestants = (OURS, *peers)
        self.targets = targets

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """One copy on a new mount."""
        with arena.mount(contestant) as mount:
            return copied(arena, mount, "large.bin").values(GIB)


class FolderCopy(Case):
    """``cp -r`` of 20 files of 20 MB."""

    name = "remote-cp-r"
    title = "remote, 20 files of 20 MB by `cp -r`"
    sources = CLIPS
    contestants = (OURS, RCLONE, *TUNED)
    targets = (Target(metric="rate_mb_s", at_least=3, of=(RCLONE.name,)),)
    shown = "rate_mb_s"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """One copy on a new mount."""
        copy = arena.folder / "copies"
        with arena.mount(contestant) as mount:
            with Meter(mount, arena.origin) as meter:
                subprocess.run(["cp", "-r", str(mount.mountpoint), str(copy)], check=True)
            _expect_equal(arena.sources, copy)
            shutil.rmtree(copy)
            return meter.values(sum(_CLIPS.values()))


def _expect_equal(sources: Path, copy: Path) -> None:
    for name in _CLIPS:
        subprocess.run(["cmp", str(sources / name), str(copy / name)], check=True)


CASES: tuple[Case, ...] = (
    LargeCopy(
        LOCAL,
        PEERS,
        (
            Target(metric="rate_mb_s", at_least=1.3, of=tuple(peer.name for peer in PEERS)),
            Target(metric="cpu_s_per_gb", at_most=1, of=(RCLONE.name,)),
        ),
    ),
    LargeCopy(
        REMOTE,
        (RCLONE, *TUNED),
        (
            Target(metric="rate_mb_s", at_least=8, of=(RCLONE.name,)),
            Target(metric="rate_mb_s", at_least=1.1, of=tuple(peer.name for peer in TUNED)),
        ),
    ),
    FolderCopy(),
)
