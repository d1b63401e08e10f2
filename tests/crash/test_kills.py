# SPDX-License-Identifier: Apache-2.0
"""A few kills, at each point of a mount's life; ``make crash`` does a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import campaign

pytestmark = pytest.mark.mounted

KILLS = len(campaign.POINTS)


def test_killed_mounts_are_repaired_and_lose_nothing(tmp_path: Path) -> None:
    """Right bytes, sound remains, no orphans, each dead mountpoint repaired by the next mount."""
    said: list[str] = []
    tally = campaign.run(tmp_path, KILLS, seed=1, readers=3, say=said.append)
    assert sum(tally.killed.values()) == len(said) == KILLS
    assert tally.repaired >= 3
    assert tally.reads > 0
    # what was kept is used again, not thrown away to be on the safe side
    assert tally.remains[-1].discarded == 0
    assert max(found.blocks for found in tally.remains) > 10
    assert all(line for line in tally.lines())
