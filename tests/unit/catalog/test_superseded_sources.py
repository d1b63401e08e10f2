"""Whoever has an older version open is told before anybody is shown a newer one.

Else an open file could, in between, have the kernel cut the new size at its own end.
"""

from __future__ import annotations

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.source.version import SourceVersion
from tests.unit.fakes import ManualClock, identity, probed_row, row

V1, V2 = identity("E1"), identity("E1", etag='"v2"')


class Told:
    """A version cache over one row.

    :ivar told: each version that was told, with the one that was shown at that moment.
    """

    def __init__(self, found: AssetRow) -> None:
        self.told: list[tuple[SourceVersion, SourceVersion | None]] = []
        rows = {found.embed_code: found}
        self.versions = SourceVersionCache(
            ManualClock(),
            rows.get,
            lambda _records: None,
            attr_ttl_s=2.0,
        )
        self.versions.subscribe(self)

    def on_new_version(self, code: str, current: SourceVersion) -> None:
        """Note it, with what is shown now."""
        shown = self.versions.known(code)
        self.told.append((current, shown.version if shown is not None else None))

    def on_change(self, embed_code: str, current: SourceVersion | None) -> None:
        """Is of test_versions.py."""

    def on_outdated(self, version: SourceVersion) -> None:
        """Is of test_versions.py."""


def test_a_probe_finds_another_version() -> None:
    """It is told while the old one is still shown; the first version replaces nothing."""
    kept = Told(row())
    kept.versions.record_probe(V1)
    assert not kept.told
    kept.versions.record_probe(V2)
    assert kept.told == [(V2, V1)]


def test_another_mount_has_found_it() -> None:
    """What it found comes with the listing, together with the touched record: a doubt."""
    kept = Told(probed_row())
    kept.versions.invalidate("E1")
    assert kept.told == [(V1, V1)]
