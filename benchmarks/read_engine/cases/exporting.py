# SPDX-License-Identifier: Apache-2.0
"""Copies of whole folders by programs that know all the files: our export and two downloaders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.read_engine.arena import Arena, Sources, drop_pages
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.cases.copying import LARGE
from benchmarks.read_engine.contestants import ARIA2C, OURS, RCLONE_COPY, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.sources import GIB, stamped_folder
from benchmarks.read_engine.targets import Target

_STILLS = {f"still-{number:03d}.dng": 1_000_000 for number in range(400)}
STILLS = Sources("stills", lambda folder: stamped_folder(folder, _STILLS), 2 * GIB)
_TAKES = {f"take-{number:02d}.mov": 20_000_000 for number in range(30)}
TAKES = Sources("takes", lambda folder: stamped_folder(folder, _TAKES), 3 * GIB)


class Export(Case):
    """All files of a folder to tmpfs. Ours also verifies each copy."""

    contestants = (OURS, ARIA2C, RCLONE_COPY)
    targets = (Target(metric="rate_mb_s", at_least=0.8, of=(ARIA2C.name, RCLONE_COPY.name)),)
    shown = "rate_mb_s"

    def __init__(self, sources: Sources, text: str) -> None:
        """``text``: the files in words."""
        self.name = f"remote-export-{sources.name}"
        self.title = f"remote, {text} by `backlotfs export`, with verification"
        self.sources = sources

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """One copy of everything: ours from a new mount."""
        copy = arena.folder / "copies"
        names = names_in(arena.sources)
        size = sum((arena.sources / name).stat().st_size for name in names)
        try:
            if contestant == OURS:
                values = _exported(arena, copy, size)
            else:
                values = downloaded(arena, contestant, copy, names, size)
            for name in names:
                subprocess.run(["cmp", str(arena.sources / name), str(copy / name)], check=True)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        return values


def names_in(folder: Path) -> list[str]:
    """The names of the files in a folder, without those that the origin hides."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def _exported(arena: Arena, copy: Path, size: int) -> dict[str, float]:
    with arena.mount(OURS) as mount, Meter(mount, arena.origin) as meter:
        own_s = _run(
            [sys.executable, "-m", "backlotfs", "export", f"{mount.mountpoint}/", str(copy)]
        )
    values = meter.values(size)
    return {**values, "cpu_s_per_gb": (meter.cpu_s + own_s) / (size / 1e9)}


def downloaded(
    arena: Arena, contestant: Contestant, copy: Path, names: list[str], size: int
) -> dict[str, float]:
    """The numbers of a downloader that copies these files of the origin."""
    copy.mkdir()
    listing = arena.folder / "names"
    url = f"{arena.origin.url}/plain/"
    if contestant == ARIA2C:
        listing.write_text("".join(f"{url}{name}\n" for name in names))
        command = ["aria2c", *contestant.flags, f"--dir={copy}", f"--input-file={listing}"]
    else:
        listing.write_text("".join(f"{name}\n" for name in names))
        program = str(Path(sys.executable).parent / "rclone")
        command = [program, "copy", ":http:", str(copy), f"--http-url={url}", *contestant.flags]
        command += ["--config=/dev/null", f"--files-from-raw={listing}"]
    drop_pages()
    mark = arena.origin.mark()
    start_s = time.monotonic()
    own_s = _run(command)
    wall_s = time.monotonic() - start_s
    fetched = sum(answer.sent_bytes for answer in arena.origin.answers_since(mark))
    return {
        "rate_mb_s": size / 1e6 / wall_s,
        "cpu_s_per_gb": own_s / (size / 1e9),
        "fetched_ratio": fetched / size,
    }


def _run(command: Sequence[str]) -> float:
    """Processor seconds of a program that does what it should.

    :raises SystemExit: it fails, or is missing.
    """
    before = os.times()
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is missing: make bench-packages") from None
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr[-1000:]}")
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


CASES: tuple[Case, ...] = (
    Export(STILLS, "400 files of 1 MB"),
    Export(TAKES, "30 files of 20 MB"),
    Export(LARGE, "one file of 1 GiB"),
)
