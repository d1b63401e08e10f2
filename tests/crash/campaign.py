# SPDX-License-Identifier: Apache-2.0
"""One campaign: mount, load, kill, look at what is left, mount again; to the last kill."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backlotfs.emulator import Emulator, EmulatorSettings
from tests.crash.made_library import MASTER, ChangingLibrary, content_of, matching
from tests.crash.remains import Remains, look_at
from tests.crash.victim import Victim
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.mounting import detach, is_mounted

#: Where in a mount's life it is killed. Most die under load.
POINTS = ("load", "load", "start", "load", "stop")
#: How long a mount may go on before it is killed, and may take to notice what changed.
LOAD_S, STOP_S, NEWS_S = 0.8, 0.3, 20.0
#: What readers may be told of a mount that dies (EIO is the kernel's, for pages never filled), and
#: of files that were replaced or deleted.
DYING = frozenset({"ENOTCONN", "ECONNABORTED", "ENODEV", "EINTR", "EIO"})
ALLOWED = DYING | {"ENOENT", "ENODATA", "ESTALE"}


@dataclass
class Tally:
    """What happened.

    :ivar repaired: mounts that found a dead mountpoint. :ivar mount_s: from start to answer.
    """

    killed: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    mount_s: list[float] = field(default_factory=list)
    remains: list[Remains] = field(default_factory=list)
    reads: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """The figures, for a terminal."""
        points = ", ".join(f"{count} at {point}" for point, count in sorted(self.killed.items()))
        yield f"kills: {sum(self.killed.values())} ({points}); orphan processes: 0"
        yield (
            f"mounts: {self.repaired} repaired a dead mountpoint; answered in "
            f"{sorted(self.mount_s)[len(self.mount_s) // 2]:.1f} s (median), "
            f"{max(self.mount_s):.1f} s at most"
        )
        last = self.remains[-1]
        yield (
            f"catalog: sound after each kill, {last.discarded} discarded; disk tier: no wrong "
            f"block, {sum(found.damaged for found in self.remains)} torn ones turned away, "
            f"{sorted(found.blocks for found in self.remains)[len(self.remains) // 2]} right ones "
            "kept (median)"
        )
        told = ", ".join(f"{count} {name}" for name, count in self.errors.most_common()) or "none"
        yield f"readers: {self.reads} reads, {self.bytes / 1e6:.0f} MB, 0 wrong; errors: {told}"


def run(
    folder: Path, kills: int, seed: int, *, readers: int, say: Callable[[str], object]
) -> Tally:
    """Kill so many mounts in ``folder``.

    :param seed: of every choice; the kernel's and the disk's timing stay theirs.
    :raises AssertionError: the first thing that is not as it has to be.
    """
    dice = random.Random(seed)
    origin = ChangingLibrary(dice)
    (folder / "library").mkdir()
    tally = Tally()
    with Emulator(origin.library, EmulatorSettings(rate_limit=None, cdn=False)) as emulator:
        campaign = _Campaign(folder, dice, origin, emulator, tally)
        try:
            with _load(folder / "library", readers, seed, tally):
                for number in range(kills):
                    campaign.round(POINTS[number % len(POINTS)])
                    say(f"{number + 1} of {kills}: {tally.remains[-1]}")
            campaign.last()
        finally:
            campaign.clean_up()
    return tally


class _Campaign:
    def __init__(
        self,
        folder: Path,
        dice: random.Random,
        origin: ChangingLibrary,
        emulator: Emulator,
        tally: Tally,
    ) -> None:
        self._folder = folder
        self._path = folder / "library"
        self._config = commands.write_config(folder / "config.toml", emulator)
        self._dice = dice
        self._origin = origin
        self._tally = tally
        self._seen_version = 0
        self._victim: Victim | None = None

    def round(self, point: str) -> None:
        """One mount and its end."""
        victim = self._launch()
        if point == "start":
            started_s = self._tally.mount_s[-1] if self._tally.mount_s else 0.5
            time.sleep(self._dice.uniform(0, started_s))
        else:
            self._check_mount(victim)
            time.sleep(self._dice.uniform(0, LOAD_S))
        if point == "stop":
            victim.ask_to_end()
            time.sleep(self._dice.uniform(0, STOP_S))
        code = victim.kill()
        assert code in ((0, -9) if point == "stop" else (-9,)), victim.log_text()
        self._tally.killed[point] += 1
        wait_until(lambda: not victim.orphans(), "the children of a killed mount to end")
        assert " ERROR " not in victim.log_text(), victim.log_text()
        cache = self._folder / ".cache" / "backlotfs"
        self._tally.remains.append(look_at(cache, self._origin.sources()))
        self._origin.change()

    def last(self) -> None:
        """One more mount that nobody kills: all of it is right, and it leaves nothing."""
        victim = self._launch()
        self._check_mount(victim)
        for name in self._origin.names():
            if name != MASTER:
                assert (self._path / name).read_bytes() == content_of(name).read(0, 2**30), name
        victim.ask_to_end()
        assert victim.wait() == 0, victim.log_text()
        assert not is_mounted(self._path)

    def clean_up(self) -> None:
        """Nothing runs and nothing is mounted, whatever happened."""
        if self._victim is not None and self._victim.process.poll() is None:
            self._victim.kill()
        while is_mounted(self._path):
            detach(self._path)

    def _launch(self) -> Victim:
        dead = is_mounted(self._path)
        self._victim = Victim(self._config, self._folder, self._folder / "mount.log")
        self._began_s = time.monotonic()
        self._found_dead = dead
        return self._victim

    def _check_mount(self, victim: Victim) -> None:
        """It answers, shows what the library has now, and every byte of the master is right."""
        victim.wait_until_mounted()
        self._tally.mount_s.append(time.monotonic() - self._began_s)
        told = "cleared the dead mount" in victim.log_text()
        assert told is self._found_dead, f"there was a dead mount: {self._found_dead}, told: {told}"
        self._tally.repaired += self._found_dead
        wait_until(
            lambda: sorted(os.listdir(self._path)) == self._origin.names(),
            "the listing of now",
            timeout_s=NEWS_S,
        )
        wait_until(self._master_is_new, "the replaced file", timeout_s=NEWS_S)

    def _master_is_new(self) -> bool:
        """Read all of it: bytes of one version, and none older than what was seen before."""
        try:
            data = (self._path / MASTER).read_bytes()
        except OSError as error:
            if error.errno is not None and os.strerror(error.errno) == "Stale file handle":
                return False
            raise
        found = matching(MASTER, data, 0, range(self._origin.version, self._seen_version - 1, -1))
        assert found is not None, "bytes of no version, or of one older than those seen before"
        self._seen_version = found
        return found == self._origin.version


@contextmanager
def _load(path: Path, readers: int, seed: int, tally: Tally) -> Iterator[None]:
    """Readers at work; afterwards what they saw is in the tally.

    :raises AssertionError: one saw a wrong byte or an errno that is none of `ALLOWED`.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.crash.reader", path, str(seed + number)],
            cwd=commands.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(readers)
    ]
    try:
        yield
        reports = [json.loads(reader.communicate("", timeout=30)[0]) for reader in started]
    finally:
        for reader in started:
            reader.kill()
            with reader:  # closes its pipes
                pass
    for report in reports:
        assert not report["wrong"], report["wrong"]
        tally.reads += report["reads"]
        tally.bytes += report["bytes"]
        tally.errors.update(report["errors"])
    assert set(tally.errors) <= ALLOWED, tally.errors
