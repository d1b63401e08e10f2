"""Which assets have captions, as far as that was asked: in memory, so that no listing waits."""

from __future__ import annotations

import contextlib

from backlotfs.catalog.db.captions import Caption, PendingCaption, StoredCaptions
from backlotfs.errors import BacklotError


class CaptionIndex:
    """Any thread may call it. Only assets that have captions take memory."""

    def __init__(self, stored: StoredCaptions) -> None:
        """What the catalog holds is known at once, as far as it can be read."""
        self._stored = stored
        self._known: dict[str, Caption] = {}
        with contextlib.suppress(BacklotError):
            self.reload()

    def known(self, embed_code: str) -> Caption | None:
        """What was found; None for "none" and for "not asked yet"."""
        return self._known.get(embed_code)

    def total_bytes(self) -> int:
        """Of all documents, as they came; the catalog holds them compressed."""
        return sum(caption.size for caption in list(self._known.values()))

    def document(self, embed_code: str) -> bytes | None:
        """The bytes, from the catalog; None when there are none any more.

        :raises BacklotError: the store's.
        """
        found = self._stored.document(embed_code)
        if found is None:
            self._known.pop(embed_code, None)
            return None
        caption, body = found
        self._known[embed_code] = caption  # another mount may have found a newer one
        return body

    def reload(self) -> None:
        """Look at the catalog: another mount may have asked. :raises BacklotError: the store's."""
        self._known = self._stored.all()

    def record(self, asked: PendingCaption, kind: str | None, body: bytes) -> None:
        """Keep what an asset was found to have. :raises BacklotError: the store's."""
        self._stored.save(asked, kind, body)
        if kind is None:
            self._known.pop(asked.embed_code, None)
        else:
            time_s = asked.updated_at_s or asked.created_at_s
            self._known[asked.embed_code] = Caption(kind, len(body), time_s)
