# SPDX-License-Identifier: Apache-2.0
"""The simulation behind `make bench-credits`: the whole stack but the kernel, in virtual time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.virtual_account import EDITS, UPLOADS, VirtualAccount


def test_mounts_of_a_small_library(tmp_path: Path) -> None:
    """A first mount asks once for each size, and a second one for none."""
    account = VirtualAccount(40, tmp_path)
    first = account.first_mount()
    assert first.calls == Counter(assets=2, streams=40)
    assert first.listed_s < first.sized_s
    assert account.another_mount(hours_later=1)["streams"] == 0


@pytest.mark.long
def test_a_day_of_a_small_library(tmp_path: Path) -> None:
    """Each upload and each edit costs one call for a URL."""
    account = VirtualAccount(40, tmp_path)
    account.first_mount()
    assert account.day().in_use["streams"] == UPLOADS + EDITS
