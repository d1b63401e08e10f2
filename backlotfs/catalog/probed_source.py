"""What is known of one source: its version, its time, and whether it is in doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.source.version import SourceVersion


@dataclass(frozen=True, slots=True)
class ProbedSource:
    """A probed source.

    :ivar mtime_s: what ``stat`` shows, seconds since the epoch.
    :ivar verified: False once something hints that the source may have been replaced; its size
        and time are still shown, but no cache is trusted before the next probe.
    :ivar replaced_at: when this version was found in another's place, on the monotonic clock.
    """

    version: SourceVersion
    mtime_s: int
    verified: bool
    replaced_at: float = -math.inf


def known_from(row: AssetRow) -> ProbedSource:
    """What a row says of its source, which was probed."""
    identity = SourceVersion(row.embed_code, row.size, row.etag, row.last_modified)
    return ProbedSource(identity, row.mtime_s, bool(row.verified))
