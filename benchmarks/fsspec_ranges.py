# SPDX-License-Identifier: Apache-2.0
"""Many parts read at once by ``cat_ranges``, beside fsspec's own ``HTTPFileSystem``.

Run as root, for nginx: ``python -m benchmarks.fsspec_ranges [--rounds 5]``. Both read the same
parts from the same signed URLs of a remote host, in turn. In each round the file systems are new:
the first call has no connection, and sizes and URLs are known. A second call reads other parts in
the same way. The first round is not counted.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import struct
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from backlotfs.concurrency.clock import Deadline
from backlotfs.emulator import Library
from backlotfs.fsspec.filesystem import BacklotFileSystem
from backlotfs.fsspec.libraries import close_libraries
from benchmarks import origin_check
from benchmarks.emulation import emulator_process
from benchmarks.origin import REMOTE, Origin, nginx, publish
from benchmarks.report import met, spread, table, write_section

PARTS, PART_BYTES = 1000, 64 * 1024
#: Files, with their numbers of parts.
LARGE, LARGE_PARTS = "large.bin", 2**30 // PART_BYTES
MANY, MANY_PARTS = tuple(f"one-of-many-{number:02}.bin" for number in range(40)), 400
LEAST_RATIO = 3.0


class Part(NamedTuple):
    """The ``number``-th `PART_BYTES` of a file."""

    name: str
    number: int

    @property
    def start(self) -> int:
        """Its first byte."""
        return self.number * PART_BYTES

    @property
    def content(self) -> bytes:
        """Its bytes: the number and the file's name, then zeros."""
        return self.head.ljust(PART_BYTES, b"\0")

    @property
    def head(self) -> bytes:
        """The bytes that are not zero."""
        return struct.pack(">Q", self.number) + self.name.encode()


class Run(NamedTuple):
    """One call of ``cat_ranges``. ``gets`` were answered by nginx, with ``sent_bytes`` in all."""

    wall_s: float
    cpu_s: float
    gets: int
    sent_bytes: int


def cases(seed: int = 1) -> dict[str, tuple[list[Part], list[Part]]]:
    """The parts that the two calls read, by the title of the case."""
    chance = random.Random(seed)
    large = [Part(LARGE, number) for number in range(LARGE_PARTS)]
    everywhere = [Part(name, number) for name in MANY for number in range(MANY_PARTS)]
    found = {
        "one after the other in one file": large[: 2 * PARTS],
        "every second one in a file": large[: 4 * PARTS : 2],
        "anywhere in a file of 1 GiB": chance.sample(large, 2 * PARTS),
        "anywhere in 40 files of 25 MiB": chance.sample(everywhere, 2 * PARTS),
    }
    return {title: (parts[:PARTS], parts[PARTS:]) for title, parts in found.items()}


def write_parts(path: Path, parts: int) -> None:
    """A file of so many parts; what is zero takes no memory."""
    with path.open("wb") as file:
        file.truncate(parts * PART_BYTES)
        for number in range(parts):
            part = Part(path.name, number)
            file.seek(part.start)
            file.write(part.head)


def _read(system: Any, paths: Iterable[str], parts: list[Part], origin: Origin) -> Run:
    """Read ``parts`` from ``paths``. :raises SystemExit: the bytes are not the right ones."""
    asked = list(paths)
    starts = [part.start for part in parts]
    stops = [start + PART_BYTES for start in starts]
    mark = origin.mark()
    before_cpu_s, began_s = _cpu_s(), time.monotonic()
    found = system.cat_ranges(asked, starts, stops)
    wall_s, cpu_s = time.monotonic() - began_s, _cpu_s() - before_cpu_s
    if found != [part.content for part in parts]:
        raise SystemExit(f"{type(system).__name__} did not read the right bytes")
    answers = origin.answers_since(mark)
    return Run(wall_s, cpu_s, len(answers), sum(answer.sent_bytes for answer in answers))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _round(
    config: Path, folder: Path, calls: Sequence[list[Part]], origin: Origin
) -> list[tuple[Run, Run]]:
    """Read the parts of each call in both ways, each by a new file system for all calls."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        ours = BacklotFileSystem(config=str(config), cache_dir=cache, skip_instance_cache=True)
        names = sorted({part.name for parts in calls for part in parts})
        ours.sizes(names)
        resolver, clock = ours.library.stack.resolver, ours.library.clock
        urls = {
            name: resolver.resolve(ours.info(name)["embed_code"], Deadline(20, clock)).url
            for name in names
        }
        origin.drop_connections()
        mine = [_read(ours, (f"/{part.name}" for part in parts), parts, origin) for parts in calls]
        close_libraries()
    http = fsspec.filesystem("http", skip_instance_cache=True)
    origin.drop_connections()
    theirs = [_read(http, (urls[part.name] for part in parts), parts, origin) for parts in calls]
    return list(zip(mine, theirs, strict=True))


def _row(title: str, runs: list[tuple[Run, Run]]) -> list[str]:
    mine, theirs = ([pair[who] for pair in runs] for who in (0, 1))
    ratio = statistics.median(run.wall_s for run in theirs) / statistics.median(
        run.wall_s for run in mine
    )
    fetched = statistics.median(run.sent_bytes for run in mine) / (PARTS * PART_BYTES)
    return [
        title,
        spread([run.wall_s for run in mine]),
        spread([run.wall_s for run in theirs]),
        f"{ratio:.2f}",
        met(ratio >= LEAST_RATIO),
        *(f"{statistics.median(run.cpu_s for run in who):.2f}" for who in (mine, theirs)),
        *(f"{statistics.median(run.gets for run in who):.0f}" for who in (mine, theirs)),
        f"{fetched:.2f}",
    ]


_HEAD = [
    "the parts are",
    "backlot, s",
    "HTTPFileSystem, s",
    "ratio",
    f"promised: ≥ {LEAST_RATIO:.0f}",
    "CPU s",
    "of HTTPFileSystem",
    "GETs",
    "of HTTPFileSystem",
    "fetched / asked",
]


def measure(rounds: int) -> str:
    """Each case in so many rounds, as a table."""
    rows = []
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="backlotfs-bench-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        media = folder / "media"
        media.mkdir()
        write_parts(media / LARGE, LARGE_PARTS)
        for name in MANY:
            write_parts(media / name, MANY_PARTS)
        with nginx(folder, media, REMOTE) as origin:
            for asset in Library.from_folder(media).ordered():
                publish(folder, asset.object_key, media / str(asset.original_file_name))
            origin_check.require(f"{origin.url}/plain/{LARGE}", REMOTE)
            options = ["--media", str(media), "--source-base-url", origin.url]
            with emulator_process(folder, [*options, "--rate-limit", "off"]) as emulator:
                for title, calls in cases().items():
                    found = [
                        _round(emulator.config, folder, calls, origin) for _ in range(rounds + 1)
                    ]
                    for then, pairs in zip(
                        ("", ", then"), zip(*found[1:], strict=True), strict=True
                    ):
                        rows.append(_row(title + then, list(pairs)))
                        print(*rows[-1], sep=" | ", flush=True)
    return table(_HEAD, rows)


def main() -> None:
    """Measure, and write the section of the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fsspec_ranges", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--print", action="store_true", help="leave the page as it is")
    chosen = parser.parse_args()
    body = (
        f"`cat_ranges` of {PARTS} parts of {PART_BYTES >> 10} KiB, from the remote host of "
        f"*Reading*. {chosen.rounds} rounds in turn, each with new file systems that have no "
        "connection; sizes and URLs are known. *Then* is a second call of the same file system for "
        "other parts. HTTPFileSystem gets the same signed URLs. It joins no parts and checks no "
        "version.\n\n" + measure(chosen.rounds)
    )
    if chosen.print:
        print(body)
    else:
        write_section("fsspec_ranges", body)


if __name__ == "__main__":
    main()
