# SPDX-License-Identifier: Apache-2.0
"""A source host that answers few requests at once, and refuses all others with 503."""

from __future__ import annotations

import pytest

from backlotfs.emulator import Emulator, EmulatorSettings, Library
from backlotfs.fsspec import BacklotFileSystem
from tests.support.made_assets import MIB, video
from tests.support.node_host import Node, NodeHost, by_request

DATA = bytes(range(256)) * (32 * MIB // 256)
PART = 4096
#: Too far apart to be joined.
STARTS = [number * 128 * 1024 for number in range(250)]


@pytest.mark.parametrize("places", [2, 6])
def test_every_read_gets_its_place(places: int) -> None:
    """All parts arrive, though each of many reads may be refused more often than is tolerated."""
    film = video("film.mov", DATA)
    node = Node(DATA, ('"v1"',))
    with NodeHost(by_request(node), places) as host:
        settings = EmulatorSettings(rate_limit=None, cdn=False, source_base_url=host.url)
        with Emulator(Library([film]), settings) as emulator:
            system = BacklotFileSystem(
                api_url=emulator.api_url,
                api_key=emulator.api_key,
                api_secret=emulator.api_secret,
            )
            paths = [f"/{film.original_file_name}"] * len(STARTS)
            found = system.cat_ranges(
                paths, STARTS, [start + PART for start in STARTS], on_error="return"
            )
        assert [one for one in found if isinstance(one, Exception)] == []
        assert found == [DATA[start : start + PART] for start in STARTS]
        assert host.refused
