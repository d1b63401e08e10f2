# SPDX-License-Identifier: Apache-2.0
"""What programs do to a large folder, timed: one fresh mount, one round of all of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.mounts import MountProcess

#: Names that desktops and macOS ask for and nobody has.
_NOISE = (".DS_Store", "Thumbs.db", "desktop.ini", ".Trash-1000")
ABSENT_NAMES = 10_000

#: The measures in the order they are made, by the name they have in the table.
MEASURES = {
    "answers": "mount answers",
    "first_ls": "mount to the end of the first `ls -f`",
    "ls_f_cold": "`ls -f`, cold",
    "ls_l_cold": "`ls -l`, cold",
    "ls_l_again": "`ls -l`, repeated",
    "find_sizes": "`find -printf %s`, after it",
    "rsync": "`rsync -n -a` to an up-to-date copy",
    "absent": f"{ABSENT_NAMES} look-ups of absent names",
}


class Taken(NamedTuple):
    """Of one measure.

    :ivar wall_s: seconds.
    :ivar cpu_s: user and system seconds of the mount's processes.
    """

    wall_s: float
    cpu_s: float


class Round(NamedTuple):
    """One fresh mount's answers.

    :ivar taken: by the keys of `MEASURES`.
    :ivar began_at_s: when its command was started, seconds since the epoch.
    :ivar answered_at_s: when the mount was there.
    :ivar listed_at_s: when the first ``ls`` had its answer.
    :ivar absent_s: when the look-ups of absent names began and ended.
    """

    taken: dict[str, Taken]
    pss_bytes: int
    began_at_s: float
    answered_at_s: float
    listed_at_s: float
    absent_s: tuple[float, float]


def measure(mount: MountProcess, names: list[str], copy: Path, *, absent: int) -> Round:
    """Everything once, on a mount that is new.

    :param names: what the folder holds.
    :param copy: a folder with the same files.
    :param absent: so many look-ups of absent names are made, and counted as `ABSENT_NAMES`.
    :raises SystemExit: an answer is wrong; then its time means nothing.
    """
    to_epoch = time.time() - time.monotonic()
    taken = {"answers": Taken(mount.answered_s - mount.started_s, mount.cpu_s())}

    @contextmanager
    def timed(key: str) -> Iterator[None]:
        cpu_s, start_s = mount.cpu_s(), time.monotonic()
        yield
        taken[key] = Taken(time.monotonic() - start_s, mount.cpu_s() - cpu_s)

    with timed("ls_f_cold"):
        listed = list_names(mount.mountpoint).names
    listed_s = time.monotonic()
    taken["first_ls"] = Taken(listed_s - mount.started_s, mount.cpu_s())
    _expect("ls -f", listed, len(names))
    drop_caches()
    for key in ("ls_l_cold", "ls_l_again"):
        with timed(key):
            listed = _run("ls", "-l", mount.mountpoint).count("\n")
        _expect("ls -l", listed, len(names) + 1)
    with timed("find_sizes"):
        sizes = _run("find", mount.mountpoint, "-type", "f", "-printf", "%s\n").split()
    _expect("find", (len(sizes), len(set(sizes))), (len(names), 1))
    drop_caches()
    with timed("rsync"):
        told = _run("rsync", "-n", "-a", "--stats", f"{mount.mountpoint}/", copy)
    _expect("rsync", "regular files transferred: 0\n" in told, True)
    absent_s = time.monotonic()
    with timed("absent"):
        _look_up_absent(mount.mountpoint, names, absent)
    taken["absent"] = Taken(*(seconds * ABSENT_NAMES / absent for seconds in taken["absent"]))
    return Round(
        taken,
        mount.pss_bytes(),
        mount.started_s + to_epoch,
        mount.answered_s + to_epoch,
        listed_s + to_epoch,
        (absent_s + to_epoch, time.time()),
    )


class Listed(NamedTuple):
    """One ``ls``: how long it took, and the names it gave."""

    wall_s: float
    names: int


def list_names(folder: Path) -> Listed:
    """``ls -f``, once."""
    start_s = time.monotonic()
    lines = _run("ls", "-f", folder).splitlines()
    took_s = time.monotonic() - start_s
    return Listed(took_s, len(lines) - (".." in lines[:2]) - ("." in lines[:2]))


def list_sizes(folder: Path) -> Listed:
    """``ls -l``, once."""
    start_s = time.monotonic()
    lines = _run("ls", "-l", folder).count("\n")
    return Listed(time.monotonic() - start_s, lines - 1)


def drop_caches() -> None:
    """Dentries and inodes, of everything; programs and databases stay in memory. Root only."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("2")


def _look_up_absent(folder: Path, names: list[str], count: int) -> None:
    resource_forks = (f"._{name}" for name in names[: count // 2])
    others = (f"absent-{number}.mp4" for number in range(count))
    wanted = [*_NOISE, *resource_forks, *others][:count]
    exists: Callable[[str], bool] = os.path.lexists
    found = [name for name in wanted if exists(f"{folder}/{name}")]
    _expect("absent names", found, [])


def _run(*command: str | Path) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return done.stdout


def _expect(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise SystemExit(f"{what} answered {seen!r}, not {expected!r}")
