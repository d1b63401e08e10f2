"""Tests for the order of what follows when a source is replaced, touched or deleted."""

from __future__ import annotations

from collections.abc import Iterable
from unittest.mock import Mock, call, create_autospec

import pytest

from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.library import CatalogDelta, Presented
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.mount.replacement import Replacement
from backlotfs.open_files.reader import HandleTable
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import asset, probed_row, source_version

V1, V2 = source_version("E1"), source_version("E1", etag='"v2"')
NOTHING = CatalogDelta([], [], [], [], [], [])


class Parts:
    """Real versions and open files; the other parts write down in which order they were called.

    :ivar calls: of URLs, pins, probes and kernel, in their order.
    """

    def __init__(self, *rows: AssetRow) -> None:
        self.calls = Mock()
        self.handles = HandleTable()
        presented = Presented()
        self.rows = {row.embed_code: row for row in rows}
        self.versions = SourceVersionCache(
            ManualClock(), self.rows.get, lambda _records: None, attr_ttl_s=2.0
        )
        self.urls = create_autospec(UrlResolver, instance=True)
        self.urls.has_fresh.return_value = False
        self.pins = create_autospec(PinReconciler, instance=True)
        self.pins.pins = Mock()
        self.probes = create_autospec(ProbeScheduler, instance=True)
        self.catalog = create_autospec(Catalog, instance=True)
        self.catalog.presented = presented
        self.catalog.row.side_effect = self.rows.get
        for name in ("urls", "pins", "probes"):
            self.calls.attach_mock(getattr(self, name), name)
        self.replacement = Replacement(
            self.versions,
            self.urls,
            self.handles,
            self.pins,
            self.probes,
            self.catalog,
            self._invalidate,
        )
        self.replacement.connect()

    def _invalidate(self, names: Iterable[str]) -> None:
        self.calls.kernel(list(names))

    def open(self, version: SourceVersion) -> int:
        """A handle on ``version``."""
        handle, _mode = self.handles.open(version, Mock())
        return handle.fh

    def is_marked(self, fh: int) -> bool:
        """Whether the program that closes this handle is told of a replacement."""
        return self.handles.get(fh).changed

    def order(self, *names: str) -> list[str]:
        """The calls with these names, in their order."""
        return [name for name, _args, _kwargs in self.calls.mock_calls if name in names]


def test_replaced() -> None:
    """Open files first, then the URL, the pin, and last the kernel."""
    parts = Parts(probed_row())
    old, new = parts.open(V1), parts.open(V2)
    parts.versions.record_probe(V2)
    assert parts.is_marked(old)
    assert not parts.is_marked(new)
    steps = ("urls.forget", "pins.source_changed", "kernel")
    assert parts.order(*steps) == list(steps)
    parts.calls.kernel.assert_called_with(["clip.mov"])


def test_open_files_are_marked_before_the_new_version_is_shown() -> None:
    """Whoever sees the new version finds the handles of the old one marked."""
    parts = Parts(probed_row())
    old = parts.open(V1)
    seen: list[tuple[SourceVersion, bool]] = []

    class Look:
        def on_new_version(self, embed_code: str, current: SourceVersion) -> None:
            known = parts.versions.known(embed_code)
            assert known is not None
            assert current == V2
            seen.append((known.version, parts.is_marked(old)))

        def on_change(self, embed_code: str, current: SourceVersion | None) -> None:
            """The other tests look at it."""

        def on_outdated(self, version: SourceVersion) -> None:
            """The other tests look at it."""

    parts.versions.subscribe(Look())
    parts.versions.record_probe(V2)
    assert seen == [(V1, True)]


def test_a_file_opened_meanwhile_is_marked_before_the_pin_follows() -> None:
    """The version before may be opened between the first marking and the publication."""
    parts = Parts(probed_row())
    late: list[int] = []
    marked: list[bool] = []
    parts.urls.forget.side_effect = lambda _code: late.append(parts.open(V1))
    parts.pins.source_changed.side_effect = lambda _code: marked.append(parts.is_marked(late[0]))
    parts.versions.record_probe(V2)
    assert marked == [True]


def test_a_url_that_was_given_after_the_change_stays() -> None:
    """It is of the new version; what is not seen yet has no such URL."""
    parts = Parts(probed_row())
    parts.urls.has_fresh.return_value = True
    parts.versions.record_probe(V2)
    parts.urls.forget.assert_not_called()
    parts.versions.on_mismatch(V2)
    parts.urls.forget.assert_called_once_with("E1")


def test_a_transfer_met_another_version() -> None:
    """Every handle on the version it asked for is marked, also one that was opened just now."""
    parts = Parts(probed_row())
    parts.versions.record_probe(V2)
    late = parts.open(V1)
    parts.versions.on_mismatch(V1)
    assert parts.is_marked(late)
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
    parts.replacement.published(NOTHING._replace(updated=[probed_row()]))
    assert doubts == [True]
    known = parts.versions.known("E1")
    assert known is not None
    assert not known.verified
    assert stale == ["E1"]


@pytest.mark.parametrize("known_to_api", [True, False])
def test_removed(known_to_api: bool) -> None:
    """Open files and URL go; the pin only if the API knows the asset no longer."""
    parts = Parts(probed_row())
    fh = parts.open(V1)
    removed = parts.rows.pop("E1")
    parts.pins.pins.of.return_value = object()
    parts.catalog.record.return_value = asset("E1") if known_to_api else None
    parts.replacement.published(NOTHING._replace(removed=[removed], stale_names=["clip.mov"]))
    assert parts.is_marked(fh)
    parts.urls.forget.assert_called_once_with("E1")
    assert parts.pins.deleted.mock_calls == ([] if known_to_api else [call("E1")])
    assert call(["clip.mov"]) in parts.calls.kernel.mock_calls


def test_another_mount_has_found_it() -> None:
    """Its version counts before its row is shown."""
    parts = Parts(probed_row())
    fh = parts.open(V1)
    found = probed_row()._replace(etag='"v2"')
    parts.replacement.before_publication(NOTHING._replace(replaced=[found]))
    assert parts.is_marked(fh)
    known = parts.versions.known("E1")
    assert known is not None
    assert known.version == V2


def test_new_ones_are_probed() -> None:
    """What is new starts the backfill, and is not remembered as absent by the kernel."""
    parts = Parts()
    parts.replacement.published(NOTHING._replace(new=[probed_row("E2", "new.mov")]))
    parts.probes.start_backfill.assert_called_once_with()
    assert call(["new.mov"]) in parts.calls.kernel.mock_calls
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
