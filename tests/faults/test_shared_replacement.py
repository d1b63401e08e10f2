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
def test_what_another_mount_found_marks_old_handles(
    serve: Serve, unmounted: Unmounted, tmp_path: Path, new_size: int
) -> None:
    """ESTALE at close, so that a copy that the new size cuts short does not end well.

    And new opens go past the page cache, where the kernel may still believe the old size.
    """
    emulator = serve(REEL)
    first, second = (unmounted(emulator, cache_dir=tmp_path) for _ in range(2))
    assert first.size(REEL) == second.size(REEL) == 4 * MIB
    for library in (first, second):
        library.stack.versions.flush()
    second.stack.catalog.publish()
    old = second.open(REEL)
    second.assert_reads(old, REEL, 0, 4096)
    emulator.library.replace(REEL.embed_code, size=new_size)
    seen: list[tuple[int, bool]] = []
    handles_marked: list[bool] = []

    def look(_change: object) -> None:
        """What a reader meets at the very moment at which the news is published."""
        target = second.stack.namespace.open("/reel.mov", second.waiter())
        seen.append((target.version.size, target.settling))
        with pytest.raises(ContentChanged):
            second.stack.reading.reader.flush(old)
        handles_marked.append(True)

    second.stack.catalog._listeners.insert(0, look)
    first.refresh()
    assert first.size(REEL) == new_size
    first.stack.versions.flush()
    second.stack.catalog.publish()
    assert seen == [(new_size, True)]
    assert handles_marked
    assert second.size(REEL) == new_size
    second.assert_whole(current(emulator, REEL))
