# SPDX-License-Identifier: Apache-2.0
"""The listing of a mount that shows a part of the library, while assets and labels change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.api.records import DeletedAsset, Label
from backlotfs.catalog.choice import Choice
from backlotfs.catalog.db.assets import save_sources
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import SourceRecord
from backlotfs.catalog.library import Presented
from backlotfs.catalog.probe_scheduler import Backfill
from backlotfs.catalog.versions import SourceVersionCache
from tests.fakes.records import asset, source_version
from tests.unit.catalog.synced import SyncedCatalog

NEWS = Label("1", "News", "/News", None)
LOCAL = Label("2", "Local", "/News/Local", "1")
OTHER = Label("3", "Other", "/Other", None)


def synced(folder: Path, *include: str, exclude: Sequence[str] = ()) -> SyncedCatalog:
    """A catalog of three assets, of which A is labelled."""
    made = SyncedCatalog(folder, with_labels=True, choice=Choice.of(include, exclude))
    made.api.all_labels = (NEWS, LOCAL, OTHER)
    label(made, "A", LOCAL)
    label(made, "B", OTHER)
    label(made, "C")
    return made


def label(made: SyncedCatalog, code: str, *labels: Label) -> None:
    """Give an asset these labels; its record changes."""
    made.api.assets = [one for one in made.api.assets if one.embed_code != code]
    changed = asset(code, "clip.mov", created_at_s=ord(code), updated_at_s=int(made.clock.now()))
    made.api.assets.append(replace(changed, labels=labels))


def sync(made: SyncedCatalog) -> None:
    """Bring it up to date, a minute later."""
    made.clock.advance(60.0)
    made.changes.clear()
    made.catalog.refresh()
    made.workers.run_all()


def changes(made: SyncedCatalog) -> dict[str, list[str]]:
    """What the listeners were told, by the name of the list."""
    (change,) = made.changes
    return {
        name: [getattr(one, "embed_code", one) for one in found]
        for name, found in change._asdict().items()
        if found
    }


def test_names_are_those_of_the_whole_library(tmp_path: Path) -> None:
    """A file is called as it is in every other mount."""
    made = synced(tmp_path, exclude=["date:undated", "label:News"])
    made.load()
    assert made.names == {"B": "clip [B].mov", "C": "clip [C].mov"}


def test_an_asset_gets_a_label_and_loses_it(tmp_path: Path) -> None:
    """To the rest of the mount it is added, and deleted."""
    made = synced(tmp_path, "label:News")
    made.load()
    assert set(made.names) == {"A"}
    made.clock.advance(60.0)
    label(made, "C", NEWS)
    sync(made)
    assert set(made.names) == {"A", "C"}
    assert changes(made) == {"new": ["C"]}
    label(made, "A", OTHER)
    sync(made)
    assert set(made.names) == {"C"}
    assert changes(made) == {"removed": ["A"], "stale_names": ["clip.mov"]}
    label(made, "A", LOCAL, OTHER)
    sync(made)
    assert changes(made) == {"new": ["A"]}


def test_a_label_is_renamed_or_moved(tmp_path: Path) -> None:
    """Assets whose own records stay as they are come and go too."""
    made = synced(tmp_path, "label:News")
    made.load()
    made.api.all_labels = (NEWS, Label("2", "Local", "/Local", None), Label("3", "O", "", "1"))
    label(made, "C")  # labels are asked for again when any record has changed
    sync(made)
    assert set(made.names) == {"B"}
    assert changes(made) == {"new": ["B"], "removed": ["A"], "stale_names": ["clip.mov"]}


def test_what_is_hidden_and_changes_is_no_news(tmp_path: Path) -> None:
    """Nor is its deletion."""
    made = synced(tmp_path, "label:News")
    made.load()
    made.clock.advance(60.0)
    label(made, "B", OTHER)
    sync(made)
    assert changes(made) == {}
    made.api.deleted = [DeletedAsset("C", int(made.clock.now()))]
    sync(made)
    assert changes(made) == {}


def test_an_unknown_label_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Until it is there; then it may be missed again."""
    made = synced(tmp_path, "label:Sport", "label:News")
    made.load()
    said = "the rule label:Sport matches nothing: the library has no such label"
    assert caplog.text.count(said) == 1
    assert list(made.catalog.unknown_labels) == ["label:Sport"]
    label(made, "C")
    sync(made)
    assert caplog.text.count(said) == 1
    sport = Label("4", "Sport", "/Sport", None)
    made.api.all_labels += (sport,)
    label(made, "C", sport)
    sync(made)
    assert set(made.names) == {"A", "C"}
    assert list(made.catalog.unknown_labels) == []
    made.api.all_labels = made.api.all_labels[:-1]
    label(made, "C", sport)
    sync(made)
    assert set(made.names) == {"A"}
    assert caplog.text.count(said) == 2


def test_nothing_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, once; not of a library that is empty."""
    made = synced(tmp_path, "type:audio")
    assets, made.api.assets = made.api.assets, []
    made.load()
    assert "no asset of the library is shown" not in caplog.text
    made.api.assets = assets
    for code in "ABC":
        label(made, code)
    sync(made)
    sync(made)
    assert made.names == {}
    assert caplog.text.count("no asset of the library is shown") == 1


def test_no_probe_of_what_is_hidden(tmp_path: Path) -> None:
    """However many hidden assets are newer; neither a first probe nor a second one."""
    made = synced(tmp_path, "label:News")
    made.load()
    versions = SourceVersionCache(made.clock, made.catalog.row, lambda _records: None)
    everything = Backfill(made.db, Presented(), versions)
    chosen = Backfill(made.db, made.catalog.presented, versions)
    assert everything.to_probe(1) == ["C"]
    assert chosen.to_probe(1) == ["A"]
    touched = [SourceRecord(code, 5, None, None, 5, verified=False, missing=False) for code in "AB"]
    made.db.write(save_sources, touched)
    assert everything.to_probe(9) == ["C", "B", "A"]
    assert chosen.to_probe(9) == ["A"]
    versions.record_probe(source_version("A"))
    assert chosen.to_probe(9) == []
    versions.close()


def test_a_catalog_without_labels_is_not_enough(tmp_path: Path) -> None:
    """A mount that needed none saved it: the library is listed before anything is shown."""
    plain = synced(tmp_path)
    plain.synchronizer.with_labels = False
    plain.load()
    assert plain.catalog.open_saved()
    choosing = plain.of(Choice.of([], ["label:News"]))
    shown: list[list[str]] = []
    choosing.subscribe(lambda _: shown.append([row.embed_code for row in choosing.library.rows]))
    assert not choosing.open_saved()
    plain.synchronizer.with_labels = True
    assert Lease(plain.db, "sync", 60.0).take()  # another mount that needs none syncs again
    choosing.load(plain.deadline())
    assert shown == [["C", "B"]]
    assert choosing.open_saved()


def test_labels_that_no_layout_and_no_rule_needs(tmp_path: Path) -> None:
    """They are not read, though another mount of the library has fetched them."""
    made = synced(tmp_path)
    made.load()
    assert made.catalog.library.members == {"2": ["A"], "3": ["B"]}
    made.synchronizer.with_labels = False
    plain = made.of(Choice.of(["*.mov"], []))
    plain.load(made.deadline())
    assert len(plain.library.rows) == 3
    assert not plain.library.labels
    assert not plain.library.members
