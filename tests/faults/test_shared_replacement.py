# SPDX-License-Identifier: Apache-2.0
"""Two mounts on one catalog: what one finds out about a replaced source, the other knows at once.

The other has not met the new version itself; it only reads what the first has written down.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.errors import ContentChanged
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.expected_bytes import current
from tests.support.made_assets import MIB, video

REEL = video("reel.mov", 4 * MIB)


@pytest.mark.parametrize("new_size", [4 * MIB, MIB, 5 * MIB], ids=str)
def test_what_another_mount_found_is_the_version_of_new_opens(
    serve: Serve, unmounted: Unmounted, tmp_path: Path, new_size: int
) -> None:
    """At the moment at which the news is published; old handles have their own bytes or ESTALE."""
    emulator = serve(REEL)
    first, second = (unmounted(emulator, cache_dir=tmp_path) for _ in range(2))
    assert first.size(REEL) == second.size(REEL) == 4 * MIB
    for library in (first, second):
        library.stack.versions.flush()
    second.stack.catalog.publish()
    old = second.open(REEL)
    second.assert_reads(old, REEL, 0, 4096)
    emulator.library.replace(REEL.embed_code, size=new_size)
    seen: list[int] = []

    def look(_change: object) -> None:
        namespace = second.stack.namespace
        seen.append(namespace.open(namespace.find("/reel.mov"), second.waiter()).size)

    second.stack.catalog._listeners.insert(0, look)
    first.refresh()
    assert first.size(REEL) == new_size
    first.stack.versions.flush()
    second.stack.catalog.publish()
    assert seen == [new_size]
    assert second.size(REEL) == new_size
    second.assert_whole(current(emulator, REEL))
    second.assert_reads(old, REEL, 0, 4096)
    with pytest.raises(ContentChanged):
        second.read(old, 2 * MIB, 4096)
