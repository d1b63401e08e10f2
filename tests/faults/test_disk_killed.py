# SPDX-License-Identifier: Apache-2.0
"""kill -9 while blocks are written and evicted: what is found afterwards is right."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backlotfs.cache.disk.write_queue import WRITE_BATCH
from tests.project.source_tree import ROOT
from tests.unit.cache.disk_blocks import block_of, keep, key, read, tier_at

#: Evicts all the time: twice as many blocks as there are slots, in a changing order.
_WRITER = """
import random, sys
from pathlib import Path
from tests.project.source_tree import ROOT
from tests.unit.cache.disk_blocks import block_of, key, read, tier_at
dice = random.Random(int(sys.argv[2]))
with tier_at(Path(sys.argv[1]), 100) as tier:
    print("open", flush=True)
    for round in range(10**9):
        wanted = key(dice.randrange(100), dice.choice(["E1", "E2"]))
        tier.put(wanted, block_of(wanted))
        wanted = key(dice.randrange(100), dice.choice(["E1", "E2"]))
        found = read(tier, wanted)
        if found not in (None, block_of(wanted)):
            print("WRONG", wanted, flush=True)
        if round % 40 == 0:
            print(round, flush=True)
"""
_KILLS = 20


@pytest.mark.long
def test_killed_writers_leave_nothing_wrong(tmp_path: Path) -> None:
    """Again and again on the same files: every block is right or absent, and most are there."""
    folder = tmp_path / "t"
    everything = [key(number, code) for code in ("E1", "E2") for number in range(100)]
    for kill in range(_KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, folder, str(kill)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(20 + 17 * (kill % 5))]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        assert writer.returncode == -signal.SIGKILL
        assert lines[0] == "open\n"
        assert not [line for line in lines if "WRONG" in line]
        with tier_at(folder, 100) as tier:
            found = [wanted for wanted in everything if read(tier, wanted) is not None]
            for wanted in found:
                assert read(tier, wanted) == block_of(wanted)
            # A batch was being written, its rows not yet: nothing else is lost.
            assert tier.counts.damaged <= WRITE_BATCH + 1
            assert len(found) >= tier.cached_bytes // 4096 - WRITE_BATCH - 1
            assert kill < 4 or len(found) >= 40
            # As readers do: what they find torn is let go, and then kept anew.
            assert read(tier, key(0, "E3")) in (None, block_of(key(0, "E3")))
            keep(tier, key(0, "E3"))
            assert read(tier, key(0, "E3")) == block_of(key(0, "E3"))
