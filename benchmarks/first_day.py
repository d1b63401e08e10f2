# SPDX-License-Identifier: Apache-2.0
"""Copies on the first day of a mount, by real programs on a real mount, under a limit of API calls.

Run as root: ``python -m benchmarks.first_day [--without-storm]``. It takes about 20 minutes.

- *First copy*: ``rsync -a`` right after the first mount. The least time is what four fifths of the
  credits allow.
- *Second mount*: ``cp -r`` after a re-mount. URLs that still live cost no API call.
- *Storm*: 10 000 files, three ``rsync`` at once, the API down for a minute in the middle, a
  re-mount in the middle. All of them end with 0 and the same bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from backlotfs.emulator import Emulator, EmulatorSettings, Fault, Library
from backlotfs.namespace.naming import fit
from benchmarks.mounts import backlotfs_command, mounted
from benchmarks.report import table, write_section

#: Of the account's calls, what a mount uses.
SHARE = 0.8
WINDOW_S = 60.0
SOURCE_BYTES = 2_000
#: Files, and calls in a window.
FIRST_COPIES = ((1_000, 300), (10_000, 2_400))
MOST_RATIO = 1.05
STORM_FILES, STORM_LIMIT, STORM_COPIES, OUTAGE_S = 10_000, 2_400, 3, 60.0


class FirstCopy(NamedTuple):
    """What was measured of one library.

    :ivar least_s: what the credits allow. :ivar again_calls: API calls for URLs of the second copy.
    """

    files: int
    limit: int
    took_s: float
    least_s: float
    refused: int
    again_s: float
    again_calls: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the section, and exit with 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(prog="benchmarks.first_day")
    parser.add_argument("--without-storm", action="store_true")
    options = parser.parse_args(arguments)
    parts, kept = [], True
    copies = [_first_copy(files, limit) for files, limit in FIRST_COPIES]
    for copy in copies:
        kept &= copy.took_s <= MOST_RATIO * copy.least_s and not copy.refused + copy.again_calls
    parts.append(_table(copies))
    if not options.without_storm:
        line, all_right = _storm()
        kept &= all_right
        parts.append(line)
    write_section("first_day", "\n\n".join(parts))
    sys.exit(0 if kept else 1)


def _first_copy(files: int, limit: int) -> FirstCopy:
    with (
        tempfile.TemporaryDirectory(prefix="backlotfs-bench-") as name,
        _library(files, limit) as emulator,
    ):
        folder = Path(name)
        command, mountpoint = _mount_command(emulator, folder)
        began_s = time.monotonic()
        with mounted("backlotfs", command, mountpoint):
            _copy(["rsync", "-a"], mountpoint, folder / "first")
            took_s = time.monotonic() - began_s
        refused = emulator.requests.count(status=429)
        _check(emulator, folder / "first")
        before = emulator.requests.count(route="streams")
        with mounted("backlotfs", command, mountpoint):
            began_s = time.monotonic()
            _copy(["cp", "-rT"], mountpoint, folder / "again")
            again_s = time.monotonic() - began_s
        _check(emulator, folder / "again")
        again_calls = emulator.requests.count(route="streams") - before
        least_s = files / (SHARE * limit) * WINDOW_S
        return FirstCopy(files, limit, took_s, least_s, refused, again_s, again_calls)


def _storm() -> tuple[str, bool]:
    with (
        tempfile.TemporaryDirectory(prefix="backlotfs-bench-") as name,
        _library(STORM_FILES, STORM_LIMIT) as emulator,
    ):
        folder = Path(name)
        command, mountpoint = _mount_command(emulator, folder)
        places = [folder / f"copy-{number}" for number in range(STORM_COPIES)]
        began_s = time.monotonic()
        with mounted("backlotfs", command, mountpoint):
            copying = [_start_rsync(mountpoint, place) for place in places]
            time.sleep(WINDOW_S)
            down = [
                emulator.faults.add(Fault.status(503), route=route)
                for route in ("assets", "streams", "source_file_info", "deleted_assets")
            ]
            time.sleep(OUTAGE_S)
            for rule in down:
                emulator.faults.remove(rule)
            time.sleep(WINDOW_S)
            still = [process.poll() for process in copying]
            for process in copying:
                process.terminate()
                process.wait()
        with mounted("backlotfs", command, mountpoint):
            copying = [_start_rsync(mountpoint, place) for place in places]
            codes = [process.wait() for process in copying]
        took_s = time.monotonic() - began_s
        for place in places:
            _check(emulator, place)
        calls = emulator.requests.count(route="streams", status=200)
        right = all(code in (None, 0) for code in still) and codes == [0] * STORM_COPIES
        line = (
            f"Storm: {STORM_COPIES} `rsync` of {STORM_FILES} files at once. The API is down for "
            f"{OUTAGE_S:.0f} s, and the library is mounted again in the middle. Exit codes: "
            f"{still} before the new mount, {codes} at the end. All bytes are right. It took "
            f"{took_s:.0f} s and {calls} calls for URLs."
        )
        return line, right


def _library(files: int, limit: int) -> Emulator:
    library = Library.synthetic(files, size_bytes=SOURCE_BYTES)
    return Emulator(library, EmulatorSettings(rate_limit=limit, rate_window_s=WINDOW_S, cdn=False))


def _mount_command(emulator: Emulator, folder: Path) -> tuple[list[str], Path]:
    config = folder / "config.toml"
    config.touch(0o600)
    config.write_text(
        "[profiles.emulator]\n"
        f'api_url = "{emulator.api_url}"\n'
        f'api_key = "{emulator.api_key}"\n'
        f'api_secret = "{emulator.api_secret}"\n'
    )
    mountpoint = folder / "library"
    command = backlotfs_command(config, mountpoint, cache_dir=folder / "cache")
    return [*command[:-1], "--cache-size", "0", command[-1]], mountpoint


def _copy(program: list[str], mountpoint: Path, to: Path) -> None:
    """:raises SystemExit: the program failed, or had something to say."""
    done = subprocess.run(
        [*program, f"{mountpoint}/", str(to)], capture_output=True, text=True, check=False
    )
    if done.returncode or done.stderr:
        raise SystemExit(f"{program[0]} ended with {done.returncode}: {done.stderr[:500]}")


def _start_rsync(mountpoint: Path, to: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["rsync", "-a", f"{mountpoint}/", str(to)])


def _check(emulator: Emulator, copy: Path) -> None:
    """:raises SystemExit: a file is missing, or has other bytes than the library's."""
    assets = emulator.library.ordered()
    for asset in assets:
        name = str(asset.original_file_name)
        content = asset.content
        assert content is not None
        # Made-up names are not all different: the oldest asset keeps a name.
        path = copy / fit(name, f" [{asset.embed_code}]")
        if not path.exists():
            path = copy / name
        if path.read_bytes() != content.read(0, content.size):
            raise SystemExit(f"{path} has other bytes than the library's")
    if len(os.listdir(copy)) != len(assets):
        raise SystemExit(f"{copy} does not have the {len(assets)} files of the library")


def _table(copies: Sequence[FirstCopy]) -> str:
    rows = [
        (
            f"{copy.files}",
            f"{copy.limit}",
            f"{copy.took_s:.0f} s",
            f"{copy.least_s:.0f} s",
            f"{copy.took_s / copy.least_s:.2f}",
            f"{copy.refused}",
            f"{copy.again_s:.1f} s",
            f"{copy.again_calls}",
        )
        for copy in copies
    ]
    head = (
        "files", "calls a minute", "first `rsync -a`", "least by 80 % of the credits", "ratio",
        "answers 429", "`cp -r` after a re-mount", "its calls for URLs",
    )  # fmt: skip
    return table(head, rows)


if __name__ == "__main__":
    main()
