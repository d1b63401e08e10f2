"""``python -m tests.soak [--minutes 10]``: 8 readers, an origin that goes wrong all the time.

Prints the figures; exit code 1 when a promise of docs/semantics.md did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backlotfs.control.client import ask
from backlotfs.emulator import EmulatedAsset, Emulator, EmulatorSettings, Library
from tests.soak.evidence import Evidence
from tests.soak.process_figures import Figures, look_at
from tests.soak.profile_bad import URL_LIFE_S, spoil
from tests.soak.readers import Reader
from tests.support.deadlines import wait_until
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

READERS = 8
OPTIONS = ("--memory", "32M", "--cache-size", "0")
#: Each is read all the time, and so has its URL renewed three times a minute.
ASSETS = 12
#: Between two looks at the process, with a `backlotfs refresh` each: two calls of the API.
LOOK_S = 1.0
#: Of the log of a mount that ended, in characters.
LOG_SHOWN = 8000
#: What is under way when the last reader closes has ended by then: a transfer's own deadline.
SETTLE_S = 35.0


def main(arguments: Sequence[str]) -> int:
    """Soak, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long [10]")
    seconds = parser.parse_args(arguments).minutes * 60
    assets = [video(f"reel {number}.mov", 1024 * MIB + 5) for number in range(ASSETS)]
    settings = EmulatorSettings(rate_limit=None, cdn=False, url_lifetime_s=URL_LIFE_S)
    with (
        tempfile.TemporaryDirectory(prefix="backlotfs-soak-") as folder,
        Emulator(Library(assets), settings) as emulator,
        Mount(emulator, Path(folder), *OPTIONS, life_s=seconds + 180) as mount,
    ):
        mount.expect_log("")
        for asset in assets:
            mount.file_of(asset).stat()
        spoil(emulator)
        readers = [Reader(mount.path, assets, number) for number in range(READERS)]
        looks = _soak(readers, mount, seconds)
        emulator.faults.clear()
        for reader in readers:
            reader.join(60)
        memory = _settled_memory(mount)
        entries = emulator.requests.entries()
        evidence = Evidence(
            seconds,
            readers,
            looks,
            _url_gaps_s(emulator, assets),
            Counter(entry.route for entry in entries),
            Counter(entry.fault for entry in entries if entry.fault),
            memory,
        )
    failures = evidence.failures()
    sys.stdout.write("".join(f"{line}\n" for line in evidence.figures()))
    sys.stdout.write("".join(f"FAILED: {line}\n" for line in failures) or "every promise held\n")
    return bool(failures)


def _soak(readers: list[Reader], mount: Mount, seconds: float) -> list[Figures]:
    looks = []
    until_s = time.monotonic() + seconds
    for reader in readers:
        reader.start()
    while time.monotonic() < until_s:
        time.sleep(min(LOOK_S, max(0.0, until_s - time.monotonic())))
        ended = mount.process.poll()
        assert ended is None, f"the mount ended ({ended}):\n{mount.log_text()[-LOG_SHOWN:]}"
        looks.append(look_at(mount.process.pid))
        ask(mount.path, "refresh")
    for reader in readers:
        reader.stop()
    return looks


def _settled_memory(mount: Mount) -> dict[str, int]:
    """What `backlotfs stats` says once nothing is in use; what it says then if that never comes."""

    def memory() -> dict[str, int]:
        return dict(ask(mount.path, "stats")["memory"])

    def at_rest() -> bool:
        now = memory()
        return not now["leased_bytes"] + now["under_way_bytes"]

    with contextlib.suppress(AssertionError):  # the judgement will say so
        wait_until(at_rest, "memory that nobody uses", timeout_s=SETTLE_S)
    return memory()


def _url_gaps_s(emulator: Emulator, assets: list[EmulatedAsset]) -> list[float]:
    """Between two signed URLs that were given for one asset."""
    gaps: list[float] = []
    for asset in assets:
        given = emulator.requests.entries(route="streams", embed_code=asset.embed_code, status=200)
        moments = sorted(entry.started_s for entry in given)
        gaps += [after - before for before, after in itertools.pairwise(moments)]
    return gaps


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
