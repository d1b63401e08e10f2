# SPDX-License-Identifier: Apache-2.0
"""Folders of many files: copied through mounts beside downloaders, and read in other ways."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from backlotfs.mount.control.client import ask
from benchmarks.origin import NEARBY, REMOTE, OriginProfile
from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.cases.exporting import STILLS, TAKES, downloaded, names_in
from benchmarks.read_engine.contestants import DOWNLOADERS, OURS, RCLONE, TUNED, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.movie import make_film
from benchmarks.read_engine.sources import GIB
from benchmarks.read_engine.targets import Target
from benchmarks.read_engine.thunar import thunar

#: Reads a folder, and returns at the end: the folder, the path of a copy, the names of the files,
#: and the number of their bytes.
Reader: TypeAlias = Callable[[Path, Path, Sequence[str], int], None]
#: Starts a reader before the time is measured; it may make this folder.
Start: TypeAlias = Callable[[Path], AbstractContextManager[Reader]]


def _by_shell(command: str) -> Start:
    """``command``: reads the folder ``$1``; a copy goes to ``$2``."""

    @contextlib.contextmanager
    def start(_folder: Path) -> Iterator[Reader]:
        yield lambda folder, copy, _names, _size_bytes: _shell(command, folder, copy)

    return start


_READERS: dict[str, Start] = {
    "cp -r": _by_shell('cp -r "$1" "$2"'),
    "rsync -a": _by_shell('rsync -a "$1/" "$2"'),
    "tar c": _by_shell('tar cf - -C "$1" . | cat > /dev/null'),
    # find forgets the exit code of md5sum, which prints no line for a file that it cannot read
    "find -exec md5sum": _by_shell(
        r'sums=$(find "$1" -type f -exec md5sum {} \; | wc -l)'
        '; test "$sums" = "$(ls "$1" | wc -l)"'
    ),
    "Thunar": thunar,
}
_CLIPS, _CLIP_BYTES = 60, 20_000_000


def _make_clips(folder: Path) -> None:
    """Clips as cameras write them."""
    film = folder / ".film.mp4"
    make_film(film, _CLIP_BYTES, minutes=1)
    for number in range(_CLIPS):
        shutil.copyfile(film, folder / f"clip-{number:02d}.mp4")
    film.unlink()


CLIPS = Sources("indexed-clips", _make_clips, 3 * GIB)
_MOUNTS = (RCLONE, *TUNED)
_DOWNLOADERS = tuple(one.name for one in DOWNLOADERS)
_MOUNT_NAMES = tuple(one.name for one in _MOUNTS)


class FolderRead(Case):
    """A program that reads all files of a folder."""

    shown = "rate_mb_s"

    def __init__(
        self,
        program: str,
        sources: Sources,
        text: str,
        mounts: Iterable[Contestant],
        targets: tuple[Target, ...],
        profile: OriginProfile = REMOTE,
    ) -> None:
        """``text``: the files in words."""
        self.name = f"{profile.name}-{program.replace(' ', '-')}-{sources.name}"
        self.title = f"{profile.name}, {text} by `{program}`"
        self.sources = sources
        self.profile = profile
        self.contestants = (OURS, *DOWNLOADERS, *mounts)
        self.targets = targets
        self._start = _READERS[program]

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """One pass, on a new mount or by a downloader; a copy is compared."""
        names = names_in(arena.sources)
        size = sum((arena.sources / name).stat().st_size for name in names)
        copy = arena.folder / "copies"
        try:
            if contestant in DOWNLOADERS:
                values = downloaded(arena, contestant, copy, names, size)
            else:
                with arena.mount(contestant) as mount, self._start(arena.folder / "home") as read:
                    with Meter(mount, arena.origin) as meter:
                        read(mount.mountpoint, copy, names, size)
                    values = meter.values(size)
            for name in names if copy.exists() else []:
                subprocess.run(["cmp", str(arena.sources / name), str(copy / name)], check=True)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.rmtree(arena.folder / "home", ignore_errors=True)
        return values


class Waste(Case):
    """A program that reads files otherwise than a copy: what is fetched for nothing."""

    contestants = (OURS,)
    shown = "wasted_mib"
    targets = (Target(metric="wasted_mib", at_most=32, unit="MiB"),)

    def __init__(
        self,
        name: str,
        title: str,
        command: str,
        *,
        whole_files: int | None,
        sources: Sources = STILLS,
    ) -> None:
        """``whole_files``: how many are read completely, and no other; None: parts of files.

        Then what the kernel asked the mount for counts as read.
        """
        self.sources = sources
        self.name = f"remote-waste-{name}"
        self.title = f"remote, {title}"
        self._command = command
        self._whole_files = whole_files

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """One pass on a new mount."""
        with arena.mount(contestant) as mount:
            before = _asked_bytes(mount.mountpoint)
            with Meter(mount, arena.origin) as meter:
                _shell(self._command, mount.mountpoint)
            if self._whole_files is None:
                read_bytes = _asked_bytes(mount.mountpoint) - before
            else:
                read_bytes = self._whole_files * 1_000_000
        return {
            "wasted_mib": max(0, meter.fetched_bytes - read_bytes) / 2**20,
            "fetched_mib": meter.fetched_bytes / 2**20,
        }


def _asked_bytes(mountpoint: Path) -> int:
    throughput = ask(mountpoint, "status")["throughput"]
    return int(throughput["since_start"]["read_bytes"])


def _shell(command: str, *arguments: Path) -> None:
    shell = ["bash", "-euo", "pipefail", "-c", command, "bash"]
    subprocess.run([*shell, *map(str, arguments)], check=True)


def _reads(sources: Sources, text: str, of_downloader: float, of_mount: float) -> list[Case]:
    copies = (
        Target(metric="rate_mb_s", at_least=of_downloader, of=_DOWNLOADERS),
        Target(metric="rate_mb_s", at_least=of_mount, of=_MOUNT_NAMES),
    )
    others = (Target(metric="rate_mb_s", at_least=0.6, of=_DOWNLOADERS),)
    line = (
        Target(metric="rate_mb_s", at_least=0.95 * (NEARBY.line_bytes_s or 0) / 1e6, unit="MB/s"),
    )
    return [
        FolderRead("cp -r", sources, text, _MOUNTS, copies),
        FolderRead("rsync -a", sources, text, _MOUNTS, copies),
        FolderRead("cp -r", sources, text, (), line, NEARBY),
        FolderRead("rsync -a", sources, text, (), line, NEARBY),
        FolderRead("tar c", sources, text, (), others),
        FolderRead("find -exec md5sum", sources, text, (), others),
        FolderRead("Thunar", sources, text, (), others),
    ]


CASES: tuple[Case, ...] = (
    *_reads(STILLS, "400 files of 1 MB", 1.0, 10),
    *_reads(TAKES, "30 files of 20 MB", 0.9, 3),
    Waste("heads", "`head -c1 *`", 'cd "$1"; head -qc1 * > /dev/null', whole_files=0),
    Waste(
        "third",
        "`md5sum` of every third file",
        'cd "$1"; ls | awk "NR % 3 == 1" | xargs -n1 md5sum > /dev/null',
        whole_files=134,
    ),
    Waste(
        "random",
        "`md5sum` of 60 files in random order",
        'cd "$1"; ls | shuf -n 60 --random-source=<(yes) | xargs -n1 md5sum > /dev/null',
        whole_files=60,
    ),
    Waste(
        "ffprobe",
        "`ffprobe` of each of 60 clips of 20 MB with their index at the end",
        'cd "$1"; for clip in *; do ffprobe -v error -show_format "$clip" > /dev/null; done',
        whole_files=None,
        sources=CLIPS,
    ),
)
