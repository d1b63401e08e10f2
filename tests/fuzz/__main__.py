# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.fuzz [--seconds N] [--target NAME]``: fuzz for as long as you like."""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target

#: Inputs between two looks at the clock; hypothesis begins anew each time, elsewhere.
ROUND = 500
#: Memory beyond what the process has at its start: a target that needs more has broken.
ROOM_BYTES = 128 * 1024 * 1024
#: Characters that are shown of an input that breaks a target, and of its traceback.
SHOWN = 4000


def main(arguments: Sequence[str]) -> int:
    """Fuzz the target that is named, or each in a process of its own; 1 if one breaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target [60]")
    parser.add_argument(
        "--unbounded", action="store_true", help="do not limit the memory of this process"
    )
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one [all]")
    options = parser.parse_args(arguments)
    if options.target is None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return max(pool.map(_by_itself, TARGETS, itertools.repeat(list(arguments))))
    if not options.unbounded:
        _limit_memory()
    return _fuzz(options.target, options.seconds)


def _by_itself(name: str, arguments: list[str]) -> int:
    """A target in a process of its own: its memory is what is limited. Its exit code."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments, "--target", name]
    return abs(subprocess.run(command, check=False).returncode)


def _fuzz(name: str, seconds: float) -> int:
    """Until the time is spent; 1 at the first input that breaks it."""
    until_s = time.monotonic() + seconds
    for number in itertools.count():
        # a seed that counts up: a failure can be had again by the round's number
        failure = _round(TARGETS[name], number)
        if failure is not None:
            sys.stdout.write(f"{name} broke in round {number}:\n{failure}\n")
            return 1
        if time.monotonic() >= until_s:
            break
    used_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    sys.stdout.write(
        f"{name}: {(number + 1) * ROUND} inputs in {seconds:.0f} s, none broke, "
        f"{used_mib} MiB of memory at most\n"
    )
    return 0


def _limit_memory() -> None:
    """As ``ulimit -v``: from now on, more than `ROOM_BYTES` beside what is used is an error."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _round(target: Target, number: int) -> str | None:
    last: list[Any] = []

    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        last[:] = [data.draw(target.inputs)]
        target.run(last[0])

    try:
        attempt()
    except Exception:  # noqa: BLE001  # whatever a target raises is what we are looking for
        return f"input: {last!r}"[:SHOWN] + f"\n{traceback.format_exc()}"[-SHOWN:]
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
