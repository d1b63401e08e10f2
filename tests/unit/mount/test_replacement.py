# SPDX-License-Identifier: Apache-2.0
"""Tests for the order of what follows when a source is replaced, touched or deleted."""

from __future__ import annotations

from unittest.mock import Mock, call, create_autospec

import pytest

from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.library import CatalogDelta, Presented
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.versions import ProbedSource, SourceVersionCache
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.kernel.notifier import Notifier
from backlotfs.mount.replacement import Replacement
from backlotfs.source.url_resolver import UrlResolver
from tests.fakes.clocks import ManualClock
from tests.fakes.records import asset, probed_row, source_version

V1, V2 = source_version("E1"), source_version("E1", etag='"v2"')
NOTHING = CatalogDelta([], [], [], [], [], [])


class Parts:
    """Real versions; the other parts write down in which order they were called.

    :ivar calls: of URLs, pins, probes and kernel, in their order.
    """

    def __init__(self, *rows: AssetRow) -> None:
        self.calls = Mock()
        presented = Presented()
        self.rows = {row.embed_code: row for row in rows}
        self.versions = SourceVersionCache(ManualClock(), self.rows.get, lambda _records: None)
        self.urls = create_autospec(UrlResolver, instance=True)
        self.urls.has_fresh.return_value = False
        self.pins = create_autospec(PinReconciler, instance=True)
        self.pins.pins = Mock()
        self.probes = create_autospec(ProbeScheduler, instance=True)
        self.kernel = create_autospec(Notifier, instance=True)
        self.catalog = create_autospec(Catalog, instance=True)
        self.catalog.presented = presented
        self.catalog.row.side_effect = self.rows.get
        for name in ("urls", "pins", "probes", "kernel"):
            self.calls.attach_mock(getattr(self, name), name)
        self.replacement = Replacement(
            self.versions,
            self.urls,
            self.pins,
            self.probes,
            self.catalog,
            self.kernel,
        )
        self.replacement.connect()

    def order(self, *names: str) -> list[str]:
        """The calls with these names, in their order."""
        return [name for name, _args, _kwargs in self.calls.mock_calls if name in names]


def before_of(row: AssetRow) -> ProbedSource:
    """The version that a row has."""
    return ProbedSource(source_version(row.embed_code), row.mtime_s, verified=True)


def test_replaced() -> None:
    """The kernel's node first, then the URL, the pin, and last the kernel's attributes."""
    parts = Parts(probed_row())
    parts.versions.record_probe(V2)
    steps = (
        "kernel.retire",
        "urls.forget",
        "pins.source_changed",
        "kernel.attributes_changed",
    )
    assert parts.order(*steps) == list(steps)
    parts.kernel.retire.assert_called_once_with("E1", before_of(probed_row()))
    parts.kernel.attributes_changed.assert_called_once_with(["E1"])


def test_the_node_is_retired_before_the_new_version_is_shown() -> None:
    """Whoever sees the new version can look up another node."""
    parts = Parts(probed_row())
    seen: list[ProbedSource | None] = []
    parts.kernel.retire.side_effect = lambda code, _before: seen.append(parts.versions.known(code))
    parts.versions.record_probe(V2)
    assert seen == [before_of(probed_row())]


def test_a_url_that_was_given_after_the_change_stays() -> None:
    """It is of the new version; what is not seen yet has no such URL."""
    parts = Parts(probed_row())
    parts.urls.has_fresh.return_value = True
    parts.versions.record_probe(V2)
    parts.urls.forget.assert_not_called()
    parts.versions.on_mismatch(V2)
    parts.urls.forget.assert_called_once_with("E1")


def test_a_transfer_met_another_version() -> None:
    """The version that it asked for is in doubt, but not one that was found meanwhile."""
    parts = Parts(probed_row())
    parts.versions.on_mismatch(V1)
    known = parts.versions.known("E1")
    assert known is not None
    assert (known.version, known.verified) == (V1, False)
    parts.kernel.retire.assert_not_called()
    parts.versions.record_probe(V2)
    parts.versions.on_mismatch(V1)
    known = parts.versions.known("E1")
    assert known is not None
    assert known.verified, "V2 is not in doubt"


def test_touched() -> None:
    """The URL is marked before the doubt can be seen; then the source is probed."""
    parts = Parts(probed_row())
    doubts: list[bool] = []

    def look(_code: str) -> None:
        known = parts.versions.known("E1")
        assert known is not None
        doubts.append(known.verified)

    parts.urls.invalidate_on_change.side_effect = look
    stale: list[str] = []
    parts.probes.enqueue_stale.side_effect = stale.extend
    change = NOTHING._replace(updated=[probed_row()])
    parts.replacement.before_publication(change)
    known = parts.versions.known("E1")
    assert known is not None
    assert not known.verified, "a program that sees the new listing may open the file at once"
    parts.replacement.published(change)
    assert doubts == [True]
    known = parts.versions.known("E1")
    assert known is not None
    assert not known.verified
    assert stale == ["E1"]
    parts.kernel.listing_changed.assert_called_once_with(["E1"])


@pytest.mark.parametrize("known_to_api", [True, False])
def test_removed(known_to_api: bool) -> None:
    """Node and URL go; the pin only if the API knows the asset no longer."""
    parts = Parts(probed_row())
    removed = parts.rows.pop("E1")
    parts.pins.pins.of.return_value = object()
    parts.catalog.record.return_value = asset("E1") if known_to_api else None
    parts.replacement.published(NOTHING._replace(removed=[removed]))
    parts.kernel.retire.assert_called_once_with("E1", before_of(removed))
    parts.kernel.listing_changed.assert_called_once_with([])
    parts.urls.forget.assert_called_once_with("E1")
    assert parts.pins.deleted.mock_calls == ([] if known_to_api else [call("E1")])


def test_another_mount_has_found_it() -> None:
    """Its version counts before its row is shown."""
    parts = Parts(probed_row())
    found = probed_row()._replace(etag='"v2"')
    parts.replacement.before_publication(NOTHING._replace(replaced=[found]))
    parts.kernel.retire.assert_called_once_with("E1", before_of(probed_row()))
    known = parts.versions.known("E1")
    assert known is not None
    assert known.version == V2


def test_new_ones_are_probed() -> None:
    """What is new starts the backfill, and the kernel is told of a new listing."""
    parts = Parts()
    parts.replacement.published(NOTHING._replace(new=[probed_row("E2", "new.mov")]))
    parts.probes.start_backfill.assert_called_once_with()
    parts.kernel.listing_changed.assert_called_once_with([])
    parts.urls.invalidate_on_change.assert_not_called()


def test_sizes_that_were_lost_with_the_catalog_are_probed_again() -> None:
    """At once, not with the next minute; a change of a record alone starts no backfill."""
    parts = Parts(probed_row())
    parts.replacement.published(NOTHING._replace(updated=[probed_row()._replace(verified=False)]))
    parts.probes.start_backfill.assert_not_called()
    parts.replacement.published(
        NOTHING._replace(updated=[probed_row(size=-1)._replace(verified=False)])
    )
    parts.probes.start_backfill.assert_called_once_with()
