"""``python -m tests.soak [--minutes 10]``: 8 readers, an origin that goes wrong all the time.

Prints the figures; exit code 1 when a promise of docs/semantics.md did not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backlotfs.emulator import EmulatedAsset, Emulator, EmulatorSettings, Library
from tests.soak.process_figures import Figures, growth, look_at
from tests.soak.profile_bad import URL_LIFE_S, spoil
from tests.soak.readers import Reader
from tests.support import mounting
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

READERS = 8
P99_S = 5.0
#: Threads, descriptors and MiB by which the mount may differ between the last two thirds.
FLAT = Figures(24, 24, 24.0)
_LOOK_S = 2.0
#: A URL is renewed when three quarters of its life have passed.
_USED_LIFE_S = URL_LIFE_S * 0.75


def main(arguments: Sequence[str]) -> int:
    """Soak, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long [10]")
    seconds = parser.parse_args(arguments).minutes * 60
    mounting.WATCHDOG_S = seconds + 120
    assets = [video(f"reel {number}.mov", 1024 * MIB + 5) for number in range(4)]
    settings = EmulatorSettings(rate_limit=None, cdn=False, url_lifetime_s=URL_LIFE_S)
    with (
        tempfile.TemporaryDirectory(prefix="backlotfs-soak-") as folder,
        Emulator(Library(assets), settings) as emulator,
        Mount(emulator, Path(folder), "--memory", "32M", "--cache-size", "0") as mount,
    ):
        mount.expect_log("")
        for asset in assets:
            mount.file_of(asset).stat()
        spoil(emulator)
        readers = [Reader(mount.path, assets, number) for number in range(READERS)]
        looks = _soak(readers, mount.process.pid, seconds)
        emulator.faults.clear()
        for reader in readers:
            reader.join(60)
        _tell_faults(emulator)
        failures = _judge(readers, looks, _refreshes(emulator, assets), seconds)
    sys.stdout.write("".join(f"FAILED: {line}\n" for line in failures) or "every promise held\n")
    return bool(failures)


def _soak(readers: list[Reader], pid: int, seconds: float) -> list[Figures]:
    looks = []
    until_s = time.monotonic() + seconds
    for reader in readers:
        reader.start()
    while time.monotonic() < until_s:
        time.sleep(min(_LOOK_S, max(0.0, until_s - time.monotonic())))
        looks.append(look_at(pid))
    for reader in readers:
        reader.stop()
    return looks


def _refreshes(emulator: Emulator, assets: list[EmulatedAsset]) -> int:
    """The most URLs that were given for one asset."""
    count = emulator.requests.count
    return max(count(route="streams", embed_code=one.embed_code, status=200) for one in assets)


def _tell_faults(emulator: Emulator) -> None:
    gets = emulator.requests.entries(route="source")
    struck = Counter(entry.fault or "none" for entry in emulator.requests.entries())
    each = ", ".join(f"{count} {fault}" for fault, count in struck.most_common())
    sys.stdout.write(
        f"{len(gets)} GETs of sources, {sum(one.bytes_sent for one in gets) / 1e6:.0f} MB sent;"
        f" faults of all requests: {each}\n"
    )


def _judge(
    readers: list[Reader], looks: list[Figures], refreshes: int, seconds: float
) -> list[str]:
    latencies = sorted(one for reader in readers for one in reader.latencies_s) or [0.0]
    p50, p99, worst = (latencies[int(part * (len(latencies) - 1))] for part in (0.5, 0.99, 1.0))
    wrong = [line for reader in readers for line in reader.wrong]
    errors = [f"{n} {name}" for reader in readers for name, n in reader.errors.items()]
    grown, allowed = growth(looks), seconds / _USED_LIFE_S + 2
    last = looks[-1]
    sys.stdout.write(
        f"{len(latencies)} reads, {sum(r.read_bytes for r in readers) / 1e6:.0f} MB"
        f" in {seconds:.0f} s by {len(readers)} readers\n"
        f"wrong reads {len(wrong)}, errors {', '.join(errors) or 0}\n"
        f"latency p50 {p50 * 1e3:.1f} ms, p99 {p99:.2f} s, worst {worst:.2f} s\n"
        f"URLs of one asset {refreshes} (at most {allowed:.1f})\n"
        f"threads {last.threads} ({grown.threads:+d}), descriptors {last.descriptors}"
        f" ({grown.descriptors:+d}), resident {last.resident_mib:.0f} MiB"
        f" ({grown.resident_mib:+.1f})\n"
    )
    verdicts = {
        f"wrong bytes: {wrong[:3]}": not wrong,
        f"errors: {errors}": not errors,
        f"p99 of {p99:.2f} s is above {P99_S:g} s": p99 <= P99_S,
        f"{refreshes} URLs of one asset": refreshes <= allowed,
        f"not flat: {grown}": all(a <= b for a, b in zip(grown, FLAT, strict=True)),
        "a reader hangs": not any(reader.is_alive() for reader in readers),
    }
    return [failure for failure, held in verdicts.items() if not held]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
