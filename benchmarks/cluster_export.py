# SPDX-License-Identifier: Apache-2.0
"""An export on a cluster: beside one machine's export, and computed for a million assets.

Run as root, for the mount: ``python -m benchmarks.cluster_export [--rounds 5]``.

- *Measured*: one library, exported from a mount by one machine's ``export``, and without one by two
  workers on the same machine, that run already or are started for it, in turn.
- *Computed*: 1 000 000 assets, 500 TB. The rate limiter's own `QuotaWindow` says when a URL can be
  asked for, the pool's own numbers say how many tasks are sent ahead, and the rest is a model: a
  server that gives 300 calls a minute, workers whose tasks share a link, sizes spread as those of
  film libraries are. Events follow each other without waiting, so days take a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from backlotfs.api.rate_limiter import Priority, QuotaWindow, RateStatus
from backlotfs.cluster.pool import MOST_TASKS, TASKS_PER_THREAD
from backlotfs.config.settings import MIB
from benchmarks.emulation import emulator_process
from benchmarks.mounts import backlotfs_command, cpu_s, mounted
from benchmarks.report import met, spread, table, write_section

ASSETS, TOTAL_BYTES = 1_000_000, 500 * 10**12
#: Calls that the account has in a window.
CREDITS, WINDOW_S = 300, 60.0
#: Of each worker.
THREADS = 16
#: What a worker copies in a second: its link carries each byte in twice, from the source and when
#: it is read back.
LINKS = {"10 Gbit/s": 10e9 / 8 / 2, "1 Gbit/s": 1e9 / 8 / 2}
WORKERS = (10, 50, 100)
CASES = ((300, "10 Gbit/s"), (300, "1 Gbit/s"), (3000, "10 Gbit/s"))
#: Files and MiB of each, of the measured libraries: the start of Dask counts more in the first.
LIBRARIES = ((48, 64), (48, 160))
LEAST_RATIO = 0.9
COMPUTED = f"""Computed: {ASSETS} assets, {TOTAL_BYTES / 1e12:.0f} TB, {THREADS} tasks at a time on
each worker. A worker's link carries each byte in twice: from the source, and when it is read back.

"""


@dataclass(slots=True)
class Worker:
    """A worker whose tasks share its link evenly.

    :ivar served_bytes: what each of its tasks has had of the link so far.
    """

    rate_bytes_s: float
    at_s: float = 0.0
    served_bytes: float = 0.0
    ends: list[float] = field(default_factory=list)
    version: int = 0

    def advance(self, now_s: float) -> None:
        """Serve all tasks until now."""
        if self.ends:
            self.served_bytes += (now_s - self.at_s) * self.rate_bytes_s / len(self.ends)
        self.at_s = now_s

    def next_end_s(self) -> float:
        """When the first of its tasks ends, if no other comes."""
        left = max(0.0, self.ends[0] - self.served_bytes)
        return self.at_s + left * len(self.ends) / self.rate_bytes_s


class Result(NamedTuple):
    """What an export took.

    :ivar for_credits_s: time in which nothing but a credit was missing. :ivar for_workers_s: time
        in which as many tasks were ahead as may be. :ivar busy: share of the workers' links.
    """

    hours: float
    calls: int
    for_credits_s: float
    for_workers_s: float
    busy: float


def sizes(seed: int = 7) -> Iterator[float]:
    """Sizes of assets: most are small, a few are very large; together `TOTAL_BYTES`."""
    chance, sigma = random.Random(seed), 1.5
    mean = TOTAL_BYTES / ASSETS
    mu = -sigma * sigma / 2
    return (mean * chance.lognormvariate(mu, sigma) for _ in range(ASSETS))


def simulate(workers: int, rate_bytes_s: float, credits: int) -> Result:
    """Export the library."""
    quota = QuotaWindow(credits=credits, window_s=WINDOW_S, reserve=0.2)
    pool = [Worker(rate_bytes_s) for _ in range(workers)]
    idle = [(0, number) for number in range(workers)]
    events: list[tuple[float, int, int]] = []
    queue: deque[float] = deque()
    window = min(MOST_TASKS, TASKS_PER_THREAD * THREADS * workers)
    now_s = for_credits_s = for_workers_s = total_bytes = 0.0
    opens_s, left, calls, ahead = -WINDOW_S, credits, 0, 0

    def begin(number: int, size: float) -> None:
        worker = pool[number]
        worker.advance(now_s)
        heapq.heappush(worker.ends, worker.served_bytes + size)
        plan(number)

    def plan(number: int) -> None:
        worker = pool[number]
        worker.version += 1
        heapq.heappush(idle, (len(worker.ends), number))
        if worker.ends:
            heapq.heappush(events, (worker.next_end_s(), number, worker.version))

    def free() -> int | None:
        while idle:
            tasks, number = idle[0]
            if tasks != len(pool[number].ends):
                heapq.heappop(idle)  # it is older
                continue
            return number if tasks < THREADS else None
        return None

    def step() -> bool:
        nonlocal now_s, ahead
        at_s, number, version = heapq.heappop(events)
        worker = pool[number]
        if version != worker.version:
            return False
        now_s = max(now_s, at_s)
        worker.advance(now_s)
        heapq.heappop(worker.ends)
        ahead -= 1
        plan(number)
        while queue and (place := free()) is not None:
            begin(place, queue.popleft())
        return True

    for size in sizes():
        total_bytes += size
        began_s = now_s
        while ahead >= window:
            step()
        for_workers_s += now_s - began_s
        began_s = now_s
        while (slot_s := quota.next_slot_s(Priority.WAITING, now_s)) > now_s:
            while events and events[0][0] <= slot_s:
                step()
            now_s = max(now_s, slot_s)
        for_credits_s += now_s - began_s
        if now_s >= opens_s + WINDOW_S:
            opens_s, left = now_s, credits
        quota.on_sent(Priority.WAITING, now_s)
        left -= 1
        calls += 1
        quota.on_answer(RateStatus(left, opens_s + WINDOW_S), now_s)
        ahead += 1
        place = free()
        if place is None:
            queue.append(size)
        else:
            begin(place, size)
    while ahead:
        step()
    busy = total_bytes / (now_s * rate_bytes_s * workers)
    return Result(now_s / 3600, calls, for_credits_s, for_workers_s, busy)


def bottleneck(result: Result) -> str:
    """What more of would help."""
    return "credits" if result.for_credits_s > result.for_workers_s else "workers' links"


def simulation() -> str:
    """The table of all sizes of clusters."""
    rows = []
    for credits, link in CASES:
        for workers in WORKERS:
            result = simulate(workers, LINKS[link], credits)
            rows.append(
                [
                    f"{credits}",
                    link,
                    f"{workers}",
                    f"{result.calls}",
                    f"{result.hours:.1f}",
                    f"{100 * result.busy:.0f} %",
                    bottleneck(result),
                ]
            )
            print(" ".join(rows[-1]), flush=True)
    head = ["calls a minute", "link of a worker", "workers", "credits", "hours", "links busy"]
    return table([*head, "bottleneck"], rows)


class Run(NamedTuple):
    """One export: its rate, from the command's start to its end, and the CPU time that it cost."""

    mib_s: float
    cpu_s: float


#: Name to the runs of each round.
Measured = dict[str, list[Run]]
ALONE, RUNNING, STARTED = (
    "one machine's export, from a mount",
    "2 workers that run already (`--scheduler`)",
    "2 workers that it starts (`--workers 2`)",
)


def measure(rounds: int, files: int, file_mib: int) -> Measured:
    """Export one library in each way, in turn, each time into a new folder."""
    found: Measured = {ALONE: [], RUNNING: [], STARTED: []}
    with contextlib.ExitStack() as opened:
        made = opened.enter_context(
            tempfile.TemporaryDirectory(dir="/dev/shm", prefix="backlotfs-cluster-")
        )
        folder = Path(made)
        config_folder = folder / "config" / "backlotfs"
        config_folder.mkdir(parents=True)
        environ = {
            **os.environ,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        library = ["--synthetic", f"{files}x{file_mib}M", "--rate-limit", "off"]
        config = opened.enter_context(emulator_process(config_folder, library)).config
        mountpoint = folder / "mount"
        command = backlotfs_command(config, mountpoint, cache_dir=folder / "cache" / "mount")
        mount = opened.enter_context(mounted("backlotfs", command, mountpoint))
        address, dask = opened.enter_context(_dask(folder))
        url = "backlot://emulator/"
        ways = {
            ALONE: ([f"{mountpoint}/"], [mount.pid]),
            RUNNING: ([url, "--scheduler", address], dask),
            STARTED: ([url, "--workers", "2"], []),
        }
        for number in range(1, rounds + 1):
            for name, (arguments, helping) in ways.items():
                run = _export(environ, arguments, folder / "copy", helping)
                found[name].append(run)
                print(f"round {number}: {run.mib_s:.0f} MiB/s, {run.cpu_s:.1f} s of CPU: {name}")
    return found


@contextlib.contextmanager
def _dask(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """A scheduler and two workers as the how-to starts them: its address, and their processes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    address, own = f"tcp://127.0.0.1:{port}", ("--local-directory", str(folder))
    with contextlib.ExitStack() as opened:
        quiet = {
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
            "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
        }
        place = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
        pids = [opened.enter_context(_running("scheduler", *place, **quiet))]
        for _ in range(2):
            worker = _running("worker", address, "--nthreads", str(THREADS), *own, **quiet)
            pids.append(opened.enter_context(worker))
        yield address, pids


@contextlib.contextmanager
def _running(*arguments: str, **environ: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _export(
    environ: dict[str, str], arguments: Sequence[str], copy: Path, helping: Sequence[int]
) -> Run:
    """Export into a folder that is removed again. :param helping: processes that work for it."""
    before_s = sum(map(cpu_s, helping)) + _ended_cpu_s()
    began_s = time.monotonic()
    command = [sys.executable, "-m", "backlotfs", "export", "--json", *arguments, str(copy)]
    done = subprocess.run(command, env=environ, check=False, stdout=subprocess.PIPE)
    took_s = time.monotonic() - began_s
    if done.returncode:
        raise SystemExit(f"the export of {arguments[0]} failed")
    shutil.rmtree(copy)
    mib = float(json.loads(done.stdout)["bytes"]) / MIB
    return Run(mib / took_s, sum(map(cpu_s, helping)) + _ended_cpu_s() - before_s)


def _ended_cpu_s() -> float:
    """CPU seconds of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measurement(found: Measured, files: int, file_mib: int) -> str:
    """What was measured."""
    alone = statistics.median(run.mib_s for run in found[ALONE])
    rows = []
    for name, runs in found.items():
        ratio = statistics.median(run.mib_s for run in runs) / alone
        verdict = "" if name == ALONE else f"{ratio:.2f} ({met(ratio >= LEAST_RATIO)})"
        rates, cpus = [run.mib_s for run in runs], [run.cpu_s for run in runs]
        rows.append([name, spread(rates, 0), verdict, spread(cpus, 1)])
    return (
        f"{files} files of {file_mib} MiB, into a folder in memory, {len(found[ALONE])} rounds in "
        "turn. Emulator, mount, workers and command share the machine; the time is from the "
        "command's start to its end. CPU seconds are those of command, mount, scheduler and "
        f"workers, without the emulator's. Promised: {LEAST_RATIO:.2f} of one machine's rate.\n\n"
        + table(["export", "MiB/s", "ratio", "CPU seconds"], rows)
    )


def _library(text: str) -> tuple[int, int]:
    files, _, file_mib = text.partition("x")
    return int(files), int(file_mib)


def main() -> None:
    """Measure, compute, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libraries", nargs="+", type=_library, metavar="FILESxMIB")
    parser.add_argument("--only", choices=["simulation", "measurement"])
    chosen = parser.parse_args()
    parts = []
    if chosen.only != "simulation":
        parts += [
            measurement(measure(chosen.rounds, *library), *library)
            for library in chosen.libraries or LIBRARIES
        ]
    if chosen.only != "measurement":
        parts.append(COMPUTED + simulation())
    body = "\n\n".join(parts)
    if chosen.only is None:
        write_section("cluster_export", body)
    else:
        print(body)


if __name__ == "__main__":
    main()
