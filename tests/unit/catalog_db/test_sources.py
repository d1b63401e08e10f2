"""Sources: what probes found out, what is left to probe, and the sums over it."""

from __future__ import annotations

from dataclasses import replace

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db.store import CatalogStore
from tests.unit.catalog_db.stores import OpenStore, made, missing, probed, walk


def test_what_a_probe_found_is_kept(store: CatalogStore, reopen: OpenStore) -> None:
    """A re-mount asks for no size that is known."""
    walk(store, [made("E1")])
    store.save_sources([probed("E1", 2**40)])
    store.close()
    again = reopen()
    (row,) = again.rows("original")
    assert row[7:] == (2**40, f'"{2**40}"', "Tue, 01 Mar 2016 21:49:25 GMT", 1_456_868_965, 1, 0)
    assert again.unsized(10) == []


def test_only_news_is_a_change(store: CatalogStore) -> None:
    """A probe that confirms what was known wakes nobody, and one of a deleted asset neither."""
    walk(store, [made("E1")])
    store.save_sources([probed("E1")])
    before = store.generation()
    store.save_sources([probed("E1"), probed("gone")])
    store.save_sources([])
    assert store.generation() == before
    store.save_sources([probed("E1", verified=False)])
    assert store.generation() == before + 1


def test_the_newest_are_probed_first(store: CatalogStore) -> None:
    """Or the oldest, or some types only."""
    walk(store, [made("old", created=1), made("new", created=3), made("mid", created=2)])
    assert store.unsized(2) == ["new", "mid"]
    assert store.unsized(9, newest_first=False) == ["old", "mid", "new"]
    store.apply([replace(made("new", created=3), asset_type="channel")], [], synced_at_s=1.0)
    assert store.unsized(1, types={"video", "audio"}) == ["mid"]


def test_the_sums_follow_every_change(store: CatalogStore) -> None:
    """Found, changed, missing, deleted."""
    walk(store, [made("E1"), made("E2"), made("E3")])
    assert (store.sized_counts(), store.total_size()) == ((0, 0, 3), 0)
    store.save_sources([probed("E1", 100), probed("E2", 0), missing("E3")])
    assert (store.sized_counts(), store.total_size()) == ((2, 1, 3), 100)
    store.save_sources([probed("E1", 30), probed("E3", 5), missing("E2")])
    assert (store.sized_counts(), store.total_size()) == ((2, 1, 3), 35)
    store.apply([], [DeletedAsset("E1", 9000)], synced_at_s=1.0)
    assert (store.sized_counts(), store.total_size()) == ((1, 1, 2), 5)
    walk(store, [], doubt_empty=False)
    assert (store.sized_counts(), store.total_size()) == ((0, 0, 0), 0)


def test_a_source_without_headers_is_kept(store: CatalogStore) -> None:
    """Neither ETag nor Last-Modified: saved twice, it is no news."""
    walk(store, [made("E1")])
    bare = probed("E1")._replace(etag=None, last_modified=None)
    store.save_sources([bare])
    before = store.generation()
    store.save_sources([bare])
    assert store.generation() == before
    assert store.rows("original")[0].etag is None
