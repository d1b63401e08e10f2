"""How a file may be opened, given what the page cache may hold."""

from __future__ import annotations

import pytest

from backlotfs.open_files.reader import OpenMode, PageCachePolicy

KEEP = OpenMode(keep_cache=True, direct_io=False)
DROP = OpenMode(keep_cache=False, direct_io=False)
PAST = OpenMode(keep_cache=False, direct_io=True)


@pytest.mark.parametrize(
    ("history", "mode"),
    [
        ("", KEEP),  # it has none: nothing to drop, and nothing to wait for
        ("+1", KEEP),
        ("+1 -1", KEEP),
        ("+1 -1 +1", KEEP),
        ("+2", PAST),  # an older version is open: its reader would be given our pages
        ("+2 +2 -2", PAST),
        ("+2 -2", DROP),  # the first open after: the old pages go
        ("+2 -2 +1", KEEP),
        ("+2 -2 +1 -1", KEEP),
        ("+2 +1 -2", DROP),  # what was read past the cache left no pages
        ("+2 +1 -2 +1", KEEP),
        ("~1", DROP),  # opened past the cache so far, but perhaps mapped
        ("+1 ~1", KEEP),
        ("+2 -2 ~1", DROP),
        ("+2 ~1 -2", DROP),
        ("+1 -1 +2 -2", DROP),  # there and back: the pages are the other's
    ],
)
def test_table(history: str, mode: OpenMode) -> None:
    """``+`` open, ``~`` open while settling, ``-`` release; then version 1 is opened."""
    ledger = PageCachePolicy()
    for step in history.split():
        validator = f"v{step[1]}"
        if step[0] == "-":
            ledger.release("E1", validator)
        else:
            ledger.open("E1", validator, direct=step[0] == "~")
    assert ledger.open("E1", "v1") == mode


def test_while_settling_the_cache_is_passed_by() -> None:
    """The kernel may still believe the size of the version before."""
    ledger = PageCachePolicy()
    assert ledger.open("E1", "v1", direct=True) == PAST
    assert ledger.open("E1", "v1", direct=True) == PAST


def test_files_do_not_mix() -> None:
    """An old version of one asset is nothing to another."""
    ledger = PageCachePolicy()
    ledger.open("E1", "v1")
    assert ledger.open("E2", "v2") == KEEP
    assert ledger.open("E1", "v1") == KEEP
