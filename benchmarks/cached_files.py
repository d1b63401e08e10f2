# SPDX-License-Identifier: Apache-2.0
"""Files that are wholly in the disk cache, beside the same files on that disk.

Run as root, because FUSE passthrough needs it: ``python -m benchmarks.cached_files [--work DIR]``.
The files are pinned first. Every measure alternates between the mount and the disk, and each
compares medians. Warm: the file is in the page cache. Cold: the page cache was emptied before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.emulation import emulator_process
from benchmarks.mounts import MountProcess, backlotfs_command, mounted
from benchmarks.report import met, spread, table, write_section

_LARGE_BYTES = 1 << 30
_PARALLEL = 8
_RANDOM_S = 4
_CPU_S_PER_GB = 0.02


class Measure(NamedTuple):
    """One comparison.

    :ivar unit: of the values of both sides; more is better.
    :ivar promised: least ratio of the medians, mount to disk.
    :ivar copied_bytes: what one round reads in order; 0 if it reads at random.
    """

    title: str
    unit: str
    promised: float
    rounds: int
    copied_bytes: int
    run: Callable[[list[Path]], float]


def main() -> None:
    """Pin, measure, write the section of the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cached_files", description=__doc__)
    parser.add_argument("--work", type=Path, help="on the disk to measure, not a stacked one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backlotfs-bench-", dir=options.work) as name:
        folder = Path(name)
        media = folder / "media"
        media.mkdir()
        for number in range(_PARALLEL):
            _make(media / f"take-{number}.mov")
        with emulator_process(folder, ["--rate-limit", "off", "--media", str(media)]) as emulator:
            command = backlotfs_command(
                emulator.config, folder / "m", cache_dir=folder / "cache", cache_size="24G"
            )
            with mounted("backlotfs", command, folder / "m", log=folder / "log") as mount:
                write_section("cached_files", _measured(mount, media))


def _make(path: Path) -> None:
    """A file of random bytes, so that no disk compresses it."""
    with path.open("wb") as file:
        for _ in range(_LARGE_BYTES >> 24):
            file.write(os.urandom(1 << 24))
        os.fsync(file.fileno())


def _measured(mount: MountProcess, media: Path) -> str:
    names = sorted(path.name for path in media.iterdir())
    ours = [mount.mountpoint / name for name in names]
    subprocess.run([sys.executable, "-m", "backlotfs", "pin", *map(str, ours)], check=True)
    _wait_for_passthrough(mount, ours)
    # The same bytes on the same disk, so that only the way to them differs.
    theirs = [media / name for name in names]
    rows, cpu_s, copied_gb = [], 0.0, 0.0
    for measure in _MEASURES:
        mine: list[float] = []
        native: list[float] = []
        for number in range(measure.rounds):
            for is_ours in (True, False) if number % 2 else (False, True):
                if not is_ours:
                    native.append(measure.run(theirs))
                    continue
                before_s = mount.cpu_s()
                mine.append(measure.run(ours))
                if measure.copied_bytes:
                    cpu_s += mount.cpu_s() - before_s
                    copied_gb += measure.copied_bytes / 1e9
        ratio = statistics.median(mine) / statistics.median(native)
        rows.append(
            [
                f"{measure.title}, {measure.unit}",
                spread(mine, 0),
                spread(native, 0),
                f"{ratio:.2f}",
                f"≥ {measure.promised}",
                met(ratio >= measure.promised),
            ]
        )
        print(*rows[-1], sep=" | ", flush=True)
    text = table(["", "backlotfs", "the disk itself", "ratio", "promised", ""], rows)
    return (
        f"{_PARALLEL} pinned files of 1 GiB.\n\n{text}\n\nProcessor time of the mount for all "
        f"copies: {cpu_s / copied_gb:.3f} s per GB. Promised: ≤ {_CPU_S_PER_GB}, "
        f"{met(cpu_s / copied_gb <= _CPU_S_PER_GB)}."
    )


def _wait_for_passthrough(mount: MountProcess, paths: list[Path]) -> None:
    """Until reads do not pass through the mount's process."""
    until_s = time.monotonic() + 120
    for path in paths:
        while True:
            before = mount.written_bytes()
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                file.read(1 << 24)
            if mount.written_bytes() - before < 1 << 20:
                break
            if time.monotonic() > until_s:
                raise SystemExit(
                    f"{path.name} is not read by passthrough: backlotfs doctor says why"
                )
            time.sleep(0.5)


def _drop_pages() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _copied_mb_s(path: Path) -> float:
    """``cp`` to memory: what the disk takes to write is not measured."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        began_s = time.monotonic()
        subprocess.run(["cp", str(path), folder], check=True)
        return _LARGE_BYTES / 1e6 / (time.monotonic() - began_s)


def _warm(paths: list[Path]) -> float:
    with paths[0].open("rb") as file:
        while file.read(1 << 24):
            pass
    return _copied_mb_s(paths[0])


def _cold(paths: list[Path]) -> float:
    _drop_pages()
    return _copied_mb_s(paths[0])


def _parallel(paths: list[Path]) -> float:
    """Eight ``dd`` at once, each of a file of its own, cold."""
    _drop_pages()
    began_s = time.monotonic()
    readers = [
        subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "bs=1M"], stderr=subprocess.DEVNULL)
        for path in paths
    ]
    if any(reader.wait() for reader in readers):
        raise SystemExit("a reader failed")
    return len(paths) * _LARGE_BYTES / 1e6 / (time.monotonic() - began_s)


def _random(paths: list[Path]) -> float:
    """``fio --direct=1``: reads of 4 KiB anywhere in one file, one after the other."""
    told = subprocess.run(
        [
            *("fio", "--name=random", f"--filename={paths[0]}", "--readonly", "--rw=randread"),
            *("--bs=4k", "--direct=1", "--ioengine=psync", "--time_based"),
            *(f"--runtime={_RANDOM_S}", "--output-format=json"),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(told.stdout)["jobs"][0]["read"]["iops"])


_MEASURES = (
    Measure("`cp` of 1 GiB, warm", "MB/s", 0.95, 7, _LARGE_BYTES, _warm),
    Measure("`cp` of 1 GiB, cold", "MB/s", 0.95, 9, _LARGE_BYTES, _cold),
    Measure("eight readers at once, cold", "MB/s", 0.95, 5, _PARALLEL * _LARGE_BYTES, _parallel),
    Measure("random 4 KiB, `fio --direct=1`", "IOPS", 0.9, 5, 0, _random),
)


if __name__ == "__main__":
    main()
