"""Where a listing that does not end is given up.

A server can go on for ever: with new records, with those it sent before under ever new cursors, or
with empty pages. What has come so far is on disk or in memory, so each listing has limits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from backlotfs.errors import ProtocolViolation

#: Pages in a row that bring nothing new.
MAX_IDLE_PAGES = 100
#: Of what is gathered in memory (labels, deletions, what changed): records, what they consist of
#: (labels and custom fields of assets, which as objects are 20 times their text), bytes of answers.
MAX_RECORDS_IN_MEMORY = 200_000
MAX_PARTS_IN_MEMORY = 1_000_000
MAX_BYTES_IN_MEMORY = 256 * 1024 * 1024


class EndlessListing(ProtocolViolation):
    """A listing went beyond its limits; nothing of it was kept."""


class ListingLimits(NamedTuple):
    """What one listing of the library may bring.

    :ivar assets: records. :ivar size_bytes: of answers, unpacked.
    """

    assets: int = 5_000_000
    size_bytes: int = 20 * 1024**3


#: For listings that are gathered in memory.
IN_MEMORY = ListingLimits(MAX_RECORDS_IN_MEMORY, MAX_BYTES_IN_MEMORY)


class ListingMeter:
    """Counts what one listing brings; one thread's."""

    def __init__(
        self, what: str, limits: ListingLimits, *, records: int = 0, size_bytes: int = 0
    ) -> None:
        """Begin.

        :param what: is listed, for messages: ``"assets"``.
        :param records: that an interrupted part of the listing brought, with ``size_bytes``.
        """
        self._what = what
        self._limits = limits
        self._records = records
        self._size_bytes = size_bytes
        self._idle_pages = 0
        self._parts = 0
        self._known: set[str] = set()

    def page_in_memory(self, ids: Collection[str], *, size_bytes: int, parts: int = 0) -> None:
        """As `page`, where nobody else tells which records are new: their ids are remembered.

        :param parts: labels and custom fields of all the records.
        """
        self._parts += parts
        if self._parts > MAX_PARTS_IN_MEMORY:
            raise EndlessListing(
                f"the listing of {self._what} does not end:"
                f" more than {MAX_PARTS_IN_MEMORY} labels and custom fields"
            )
        before = len(self._known)
        self._known.update(ids)
        self.page(records=len(ids), new=len(self._known) - before, size_bytes=size_bytes)

    def page(self, *, records: int, new: int, size_bytes: int) -> None:
        """A page came.

        :param records: on it. :param new: of them, which did not come before.
        :raises EndlessListing: that is too much; the message names the limit.
        """
        self._records += records
        self._size_bytes += size_bytes
        self._idle_pages = 0 if new else self._idle_pages + 1
        does_not_end = f"the listing of {self._what} does not end"
        if self._records > self._limits.assets:
            raise EndlessListing(f"{does_not_end}: more than {self._limits.assets} records")
        if self._size_bytes > self._limits.size_bytes:
            raise EndlessListing(
                f"{does_not_end}: more than {self._limits.size_bytes} bytes of answers"
            )
        if self._idle_pages > MAX_IDLE_PAGES:
            raise EndlessListing(
                f"{does_not_end}: {self._idle_pages} pages in a row brought nothing new"
            )
