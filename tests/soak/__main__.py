# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.soak [--minutes 10]``: readers of three hosts, one of which is well.

One host of sources goes wrong all the time, one is hostile: it answers byte by byte, never ends a
head, or speaks no HTTP. The files of the third, and uploads, must not suffer from that.

Prints the figures; exit code 1 when a promise of docs/semantics.md did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backlotfs.emulator import EmulatedAsset, Emulator, EmulatorSettings, Library
from backlotfs.mount.control.client import ask
from tests.soak.evidence import Evidence, Hostility
from tests.soak.process_figures import Figures, look_at
from tests.soak.profile_bad import URL_LIFE_S, spoil
from tests.soak.readers import Reader
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import len_of, origin_bytes
from tests.support.hostile_host import TORMENTS, HostileHost, serve_sources_at
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount

READERS = 8
OPTIONS = ("--memory", "32M", "--cache-size", "0")
#: Each is read all the time, and so has its URL renewed three times a minute.
ASSETS = 12
#: Files of the host that is well, and of the one that is hostile, each with readers of their own.
HEALTHY, HOSTILE = 6, 80
HEALTHY_READERS, HOSTILE_READERS = 2, 6
#: All but what needs TLS.
TORMENTED = tuple(kind for kind in TORMENTS if kind != "tls")
#: Looks between two uploads.
UPLOAD_LOOKS = 10
#: How long is waited for an upload, or for the hostile host's files once it is well.
PATIENCE_S = 60.0
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
    healthy = [video(f"well {number}.mov", 64 * MIB + 5) for number in range(HEALTHY)]
    hostile = [video(f"hostile {number:02}.mov", 40 * KIB) for number in range(HOSTILE)]
    settings = EmulatorSettings(rate_limit=None, cdn=False, url_lifetime_s=URL_LIFE_S)
    library = Library([*assets, *healthy, *hostile])
    with (
        tempfile.TemporaryDirectory(prefix="backlotfs-soak-") as folder,
        Emulator(library, settings) as emulator,
        Emulator(library, dataclasses.replace(settings, host="127.0.0.3")) as well,
        HostileHost(well.api_url, host="127.0.0.2") as host,
        Mount(emulator, Path(folder), *OPTIONS, life_s=seconds + 180) as mount,
    ):
        mount.expect_log("")
        serve_sources_at(emulator, host.url, hostile)
        serve_sources_at(emulator, well.api_url, healthy)
        # the size of every second one is known: it is read, where the others are looked for
        for asset in assets + healthy + hostile[::2]:
            mount.file_of(asset).stat()
        host.torment(*TORMENTED)
        spoil(emulator)
        readers = [Reader(mount.path, assets, number) for number in range(READERS)]
        content = [Reader(mount.path, healthy, 100 + n) for n in range(HEALTHY_READERS)]
        tormented = [Reader(mount.path, hostile, 200 + n) for n in range(HOSTILE_READERS)]
        uploads_s: list[float] = []
        looks = _soak([*readers, *content, *tormented], mount, emulator, seconds, uploads_s)
        emulator.faults.clear()
        host.torment()
        recovery_s = _recovery_s(mount, hostile)
        for reader in [*readers, *content, *tormented]:
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
            Hostility(content, tormented, host.tormented, uploads_s, recovery_s),
        )
    failures = evidence.failures()
    sys.stdout.write("".join(f"{line}\n" for line in evidence.figures()))
    sys.stdout.write("".join(f"FAILED: {line}\n" for line in failures) or "every promise held\n")
    return bool(failures)


def _soak(
    readers: list[Reader],
    mount: Mount,
    emulator: Emulator,
    seconds: float,
    uploads_s: list[float],
) -> list[Figures]:
    """Looks at the process; into ``uploads_s`` how long each upload took to be listed."""
    looks: list[Figures] = []
    uploaded: tuple[str, float] | None = None
    until_s = time.monotonic() + seconds
    for reader in readers:
        reader.start()
    while time.monotonic() < until_s:
        time.sleep(min(LOOK_S, max(0.0, until_s - time.monotonic())))
        ended = mount.process.poll()
        assert ended is None, f"the mount ended ({ended}):\n{mount.log_text()[-LOG_SHOWN:]}"
        looks.append(look_at(mount.process.pid))
        ask(mount.path, "refresh")
        if uploaded is not None:
            name, at_s = uploaded
            waited_s = time.monotonic() - at_s
            if waited_s > PATIENCE_S or name in os.listdir(mount.path):
                uploads_s.append(waited_s)
                uploaded = None
        if uploaded is None and len(looks) % UPLOAD_LOOKS == 0:
            uploaded = (f"upload {len(looks)}.mov", time.monotonic())
            emulator.library.add(video(uploaded[0], 40 * KIB))
    for reader in readers:
        reader.stop()
    if uploaded is not None:  # so long at least
        uploads_s.append(time.monotonic() - uploaded[1])
    return looks


def _recovery_s(mount: Mount, hostile: list[EmulatedAsset]) -> float:
    """Seconds until each file of the host that was hostile can be read, by others than before."""
    began_s = time.monotonic()

    def is_back(asset: EmulatedAsset) -> bool:
        expected = origin_bytes(asset, 0, len_of(asset))
        while time.monotonic() - began_s < PATIENCE_S:
            done = subprocess.run(["cat", mount.file_of(asset)], check=False, capture_output=True)
            if done.returncode == 0 and done.stdout == expected:
                return True
            time.sleep(0.1)
        return False

    with ThreadPoolExecutor(len(hostile)) as at_once:
        all_back = all(at_once.map(is_back, hostile))
    return time.monotonic() - began_s if all_back else PATIENCE_S


def _settled_memory(mount: Mount) -> dict[str, int]:
    """What `backlotfs stats` says once nothing is in use; what it says then if that never comes."""

    def memory() -> dict[str, int]:
        return dict(ask(mount.path, "stats")["memory"])

    def at_rest() -> bool:
        now = memory()
        return not now["leased_bytes"] + now["in_flight_bytes"]

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
