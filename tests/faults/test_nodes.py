# SPDX-License-Identifier: Apache-2.0
"""Nodes that name the same bytes by ETags of their own, seen by the whole stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.emulator import Fault, SyntheticContent
from backlotfs.emulator.assets import seed_of
from backlotfs.errors import ContentChanged
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.expected_bytes import current
from tests.support.made_assets import MIB, video

REEL = video("reel.mov", 4 * MIB)
NODES = [
    Fault.nodes(),
    Fault.nodes(3),
    Fault.nodes(by_connection=True),
    Fault.nodes(weak=True),
    Fault.nodes(weak=True, by_connection=True),
]


@pytest.mark.parametrize("nodes", NODES, ids=lambda fault: str(dict(fault.parameters)))
def test_an_edited_title_replaces_nothing(serve: Serve, unmounted: Unmounted, nodes: Fault) -> None:
    """Each probe may meet another node: all cached bytes stay, and no open file is marked."""
    emulator = serve(REEL)
    emulator.faults.add(nodes, route="source")
    library = unmounted(emulator)
    fh = library.open(REEL)
    library.assert_whole(REEL)
    known = library.stack.versions.known(REEL.embed_code)
    for number in range(3):
        emulator.library.edit(REEL.embed_code, title=f"Title {number}")
        library.refresh()
        again = library.open(REEL)  # which waits for the probe
        assert library.stack.versions.known(REEL.embed_code) == known
        down = emulator.faults.add(Fault.status(500), route="source")
        library.assert_reads(again, REEL, 0, 4 * MIB)
        emulator.faults.remove(down)
        library.stack.reading.reader.release(again)
    library.stack.reading.reader.flush(fh)


@pytest.mark.parametrize("nodes", NODES, ids=lambda fault: str(dict(fault.parameters)))
def test_a_replaced_source_is_noticed_behind_nodes(
    serve: Serve, unmounted: Unmounted, nodes: Fault
) -> None:
    """Once its date is a minute old, it is read as every other."""
    emulator = serve(REEL)
    emulator.faults.add(nodes, route="source")
    library = unmounted(emulator)
    old = library.open(REEL)
    library.assert_reads(old, REEL, 0, 4096)
    assert REEL.content is not None
    newer = SyntheticContent(seed_of("newer"), 5 * MIB, REEL.content.last_modified + 3600)
    emulator.library.replace(REEL.embed_code, content=newer)
    library.refresh()
    library.assert_whole(current(emulator, REEL))
    assert library.size(REEL) == 5 * MIB
    with pytest.raises(ContentChanged):
        library.read(old, 3 * MIB, 4096)


def test_two_mounts_of_one_catalog(serve: Serve, unmounted: Unmounted, tmp_path: Path) -> None:
    """Each may have met another node first; neither ends the reads of the other."""
    emulator = serve(REEL)
    emulator.faults.add(Fault.nodes(), route="source")
    first, second = (unmounted(emulator, cache_dir=tmp_path, cache_bytes=0) for _ in range(2))
    assert first.size(REEL) == second.size(REEL) == 4 * MIB
    opened = [library.open(REEL) for library in (first, second)]
    for library in (first, second):
        library.assert_whole(REEL)
    for library in (first, second):
        library.stack.versions.flush()
        library.stack.catalog.publish()
    for library, fh in zip((first, second), opened, strict=True):
        library.assert_reads(fh, REEL, 0, 4 * MIB)
        library.stack.reading.reader.flush(fh)
