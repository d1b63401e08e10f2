"""What the kernel's page cache may hold, and so how a file may be opened.

The page cache is per inode, not per open file: an old handle would be given pages that a new
handle filled with another version's bytes (measured). So, by `fuse_file_info` of each open:

- while a handle on another version is open: ``direct_io`` (the new one goes past the cache);
- while the kernel may still believe an older version's size ("settling"): ``direct_io`` too, for
  a buffered read would be cut at that size;
- else, if the cached pages are this version's: ``keep_cache`` (re-reads cost no FUSE call);
- else neither: the kernel drops the old pages at this open, and those that follow are this
  version's.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class OpenMode(NamedTuple):
    """The two flags of ``fuse_file_info``."""

    keep_cache: bool
    direct_io: bool


class PageCachePolicy:
    """Which version's pages each inode may hold. Not thread-safe: its owner locks.

    One string per file ever opened is remembered: about 150 bytes each.
    """

    def __init__(self) -> None:
        self._pages: dict[str, str] = {}
        self._open: dict[str, Counter[str]] = {}

    def open(self, embed_code: str, validator: str, *, settling: bool = False) -> OpenMode:
        """Decide how this version is opened, and take note of it."""
        open_now = self._open.setdefault(embed_code, Counter())
        others = open_now.total() - open_now[validator]
        open_now[validator] += 1
        if others or settling:
            # A private mapping of such a file fills pages all the same: the next plain open drops.
            self._pages.setdefault(embed_code, "")
            return OpenMode(keep_cache=False, direct_io=True)
        # An inode never handed out has no pages. Dropping none is not free: the kernel waits for
        # pages that another reader, who came in between, has locked behind a stalled host.
        keep = self._pages.get(embed_code, validator) == validator
        self._pages[embed_code] = validator
        return OpenMode(keep_cache=keep, direct_io=False)

    def release(self, embed_code: str, validator: str) -> None:
        """A handle that `open` noted is closed."""
        open_now = self._open[embed_code]
        open_now[validator] -= 1
        if not open_now.total():
            del self._open[embed_code]
