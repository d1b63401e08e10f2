# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand files with known sizes: backlotfs beside ``rclone mount`` of a local folder.

Run as root: ``python -m benchmarks.metadata [--rounds N] [--assets N] [--without-million]``. Both
with their defaults, alternating; each round is a fresh mount, with the kernel's caches dropped. The
local folder itself is listed in the same rounds. The catalog is what an earlier mount would have
left (see `benchmarks.saved_catalog`), so what is measured is a second mount. Then a million assets,
on our side only.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backlotfs.kernel.mount_table import mount_of
from benchmarks.emulation import EmulatorProcess, emulator_process
from benchmarks.listing import (
    ABSENT_NAMES,
    MEASURES,
    Round,
    drop_caches,
    list_names,
    list_sizes,
    measure,
)
from benchmarks.mounts import backlotfs_command, mounted, rclone_folder_command
from benchmarks.report import met, spread, table, write_section
from benchmarks.saved_catalog import SOURCE_BYTES, make_copies, save_catalog, save_made_up

#: What is promised: seconds, or as a part of rclone's time in the same run.
_AT_MOST_S = {"first_ls": 1.0}
_AT_MOST_RATIO = {"ls_l_cold": 0.2, "ls_l_again": 0.1, "find_sizes": 0.1}
#: As a part of the time of the local folder's own file system.
_LS_L_OF_LOCAL = 1.0
#: Of a million assets.
_MILLION_S = {"mount answers": 2.0, "`ls -f`, cold": 7.0, "`ls -l`, cold": 12.0}
_MILLION_PSS_MB = 600
#: Each takes rclone some 4 ms, whatever their number.
_ABSENT_OF_RCLONE = 300
_PSS_PROMISED_MB = 200
_BLOCK_BUDGET = "the block budget (nothing was read: 0)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(prog="benchmarks.metadata")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--assets", type=int, default=100_000)
    parser.add_argument("--without-million", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="backlotfs-bench-") as name:
        parts = _beside_rclone(Path(name), options.assets, options.rounds)
    if not options.without_million:
        with tempfile.TemporaryDirectory(prefix="backlotfs-bench-") as name:
            parts.append(_alone(Path(name), 1_000_000))
    write_section("metadata", "\n\n".join(parts))


def _beside_rclone(folder: Path, assets: int, rounds: int) -> list[str]:
    with emulator_process(folder, [f"--synthetic={assets}x{SOURCE_BYTES}"]) as emulator:
        names = save_catalog(emulator.config, folder / "cache")
        copy, ours, theirs = folder / "copy", folder / "ours", folder / "theirs"
        make_copies(copy, names)
        commands = {
            "backlotfs": (
                backlotfs_command(emulator.config, ours, cache_dir=folder / "cache"),
                ours,
            ),
            "rclone": (rclone_folder_command(copy, theirs), theirs),
        }
        _mount_once(*commands["backlotfs"])
        results: dict[str, list[Round]] = {name: [] for name in commands}
        local_s: list[float] = []
        for number in range(rounds):
            drop_caches()
            local_s.append(list_sizes(copy).wall_s)
            for name, (command, mountpoint) in commands.items():
                drop_caches()
                with mounted(name, command, mountpoint, log=folder / f"{name}.log") as mount:
                    absent = ABSENT_NAMES if name == "backlotfs" else _ABSENT_OF_RCLONE
                    results[name].append(measure(mount, names, copy, absent=absent))
                wall = {key: round(one.wall_s, 2) for key, one in results[name][-1].taken.items()}
                print(f"round {number + 1}, {name}: {wall}")
        return [
            f"{assets} assets, all sizes known, {rounds} rounds. Cold: a new mount, or the "
            "kernel's dentries and inodes were dropped. rclone was asked for "
            f"{_ABSENT_OF_RCLONE} absent names only, and its time is scaled up.",
            _table(results["backlotfs"], results["rclone"]),
            _beside_local(results["backlotfs"], local_s, copy),
            _memory(results["backlotfs"], results["rclone"]),
            _calls(emulator, results["backlotfs"]),
        ]


def _table(ours: list[Round], theirs: list[Round]) -> str:
    rows = []
    for key, title in MEASURES.items():
        mine = [one.taken[key].wall_s for one in ours]
        peer = [one.taken[key].wall_s for one in theirs]
        cpu_s = [statistics.median(one.taken[key].cpu_s for one in side) for side in (ours, theirs)]
        ratio = statistics.median(mine) / statistics.median(peer)
        promised, kept = "", True
        if key in _AT_MOST_S:
            promised, kept = f"≤ {_AT_MOST_S[key]} s", statistics.median(mine) <= _AT_MOST_S[key]
        elif key in _AT_MOST_RATIO:
            promised, kept = f"≤ {_AT_MOST_RATIO[key]} of rclone", ratio <= _AT_MOST_RATIO[key]
        verdict = f"{promised}{'' if kept else ' **missed**'}"
        used = [f"{cpu_s[0]:.2f}", f"{cpu_s[1]:.2f}"]
        rows.append([title, spread(mine), spread(peer), f"{ratio:.3f}", verdict, *used])
    head = ["", "backlotfs, s", "rclone, s", "ratio", "promised", "CPU s", "CPU s of rclone"]
    return table(head, rows)


def _beside_local(ours: list[Round], local_s: list[float], copy: Path) -> str:
    mount = mount_of(copy.resolve())
    fs_type = mount.fs_type if mount is not None else "the disk"
    mine_s = statistics.median(one.taken["ls_l_cold"].wall_s for one in ours)
    ratio = mine_s / statistics.median(local_s)
    verdict = "." if ratio <= _LS_L_OF_LOCAL else ": **missed**."
    return (
        f"`ls -l`, cold, of the copy on {fs_type} itself: {spread(local_s)} s. "
        f"backlotfs takes {ratio:.2f} of that. Promised: ≤ {_LS_L_OF_LOCAL}{verdict}"
    )


def _memory(ours: list[Round], theirs: list[Round]) -> str:
    mine = [one.pss_bytes / 1e6 for one in ours]
    peer = [one.pss_bytes / 1e6 for one in theirs]
    kept = statistics.median(mine) <= _PSS_PROMISED_MB
    return (
        f"Memory at the end (summed PSS): backlotfs {spread(mine, 0)} MB, "
        f"rclone {spread(peer, 0)} MB. Promised: ≤ {_PSS_PROMISED_MB} MB and {_BLOCK_BUDGET}"
        f"{'.' if kept else ': **missed**.'}"
    )


def _calls(emulator: EmulatorProcess, rounds: list[Round]) -> str:
    """By the emulator's log: what the API was asked, and when."""
    time.sleep(0.5)  # the log is written after the answer
    before, beside, absent, all_calls = (Counter[str]() for _ in range(4))
    for one in rounds:
        before += emulator.requests.since(one.began_at_s, one.answered_at_s)
        beside += emulator.requests.since(one.answered_at_s, one.listed_at_s)
        absent += emulator.requests.since(*one.absent_s)
        all_calls += emulator.requests.since(one.began_at_s, one.absent_s[1])
    return (
        f"API calls of all {len(rounds)} mounts together: {_in_words(before)} before the mount "
        f"answered; {_in_words(beside)} during the first `ls`, by a check that nothing waits "
        f"for; {_in_words(absent)} during the look-ups of absent names; in all "
        f"{_in_words(all_calls)}."
    )


def _in_words(calls: Counter[str]) -> str:
    return ", ".join(f"{count} `{route}`" for route, count in sorted(calls.items())) or "none"


def _mount_once(command: Sequence[str], mountpoint: Path) -> None:
    """Mount, list and unmount: later mounts find the times of folders in the catalog."""
    with mounted("backlotfs", command, mountpoint) as mount:
        list_names(mount.mountpoint)


def _alone(folder: Path, assets: int) -> str:
    # what the emulator has does not matter: asked for news, it has none
    with emulator_process(folder, ["--synthetic=1"]) as emulator:
        names = save_made_up(emulator.config, folder / "cache", assets)
        command = backlotfs_command(emulator.config, folder / "m", cache_dir=folder / "cache")
        _mount_once(command, folder / "m")
        drop_caches()
        with mounted("backlotfs", command, folder / "m", log=folder / "log") as mount:
            answered_s = mount.answered_s - mount.started_s
            by_name = list_names(mount.mountpoint)
            drop_caches()
            by_size = list_sizes(mount.mountpoint)
            cpu_s, pss_mb = mount.cpu_s(), mount.pss_bytes() / 1e6
    if {by_name.names, by_size.names} != {len(names)}:
        raise SystemExit(f"{by_name.names} and {by_size.names} names were listed of {len(names)}")
    taken_s = dict(zip(_MILLION_S, (answered_s, by_name.wall_s, by_size.wall_s), strict=True))
    rows = [
        [name, f"≤ {_MILLION_S[name]:.0f} s", f"{seconds:.1f} s", met(seconds <= _MILLION_S[name])]
        for name, seconds in taken_s.items()
    ]
    rows.append(["CPU of all that", "", f"{cpu_s:.1f} s", ""])
    pss = [f"≤ {_MILLION_PSS_MB} MB", f"{pss_mb:.0f} MB", met(pss_mb <= _MILLION_PSS_MB)]
    return f"{assets} assets, one mount:\n\n" + table(
        ["", "promised", "backlotfs", ""], [*rows, ["PSS", *pss]]
    )


if __name__ == "__main__":
    main()
