# SPDX-License-Identifier: Apache-2.0
"""A snapshot carries a library to other catalogs: whole, or nothing of it."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backlotfs.api.records import Label
from backlotfs.catalog.db import assets, captions, folders, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.folders import FolderTime
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import FullSyncTaken
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.db.sync import FullSync
from backlotfs.catalog.snapshot_file import Described, export_snapshot, import_snapshot
from backlotfs.errors import CommandFailed, SettingsError
from tests.fakes.clocks import ManualClock
from tests.unit.catalog_db.catalogs import (
    ACCOUNT,
    API_URL,
    MODE,
    OpenDb,
    apply,
    codes,
    file_names,
    give_names,
    made,
    missing,
    names,
    probed,
    records,
    walk,
)

LIBRARY = LibraryIdentity.of(API_URL, ACCOUNT)
SPORTS = Label("l1", "Sports", "/Sports", None)
IMAGE = "https://images.example.com/one.jpg"


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """The cache folder of another machine."""
    made_there = tmp_path / "farm"
    made_there.mkdir(mode=0o700)
    return made_there


@pytest.fixture
def full(db: CatalogDb) -> CatalogDb:
    """A catalog with something of everything."""
    listed = [
        replace(made("E1"), labels=(SPORTS,), preview_image_url=IMAGE),
        replace(made("E2"), labels=()),
        replace(made("E3", title="half \ud83d"), preview_image_url=f"{IMAGE}?Signature=abc"),
    ]
    walk(db, listed)
    db.write(assets.save_sources, [probed("E1"), missing("E2")])
    give_names(db, MODE, file_names)
    db.write(state.set_labels, [SPORTS])
    db.write(state.mark_lists_sources, True)
    (asked,) = (one for one in db.read(captions.pending, 9, []) if one.embed_code == "E1")
    db.write(captions.save, asked, "vtt", b"WEBVTT")
    db.write(folders.save_folder_times, "view", {1: FolderTime(5, 77)}, {1})
    return db


def exported(cache_dir: Path, clock: ManualClock) -> Path:
    """The snapshot of a cache folder's catalog."""
    file = cache_dir / "snapshot.blfs"
    export_snapshot(cache_dir, LIBRARY, clock, file)
    return file


def content(db: CatalogDb) -> list[object]:
    """All that a mount reads of a catalog."""
    return [
        list(db.read(assets.rows, MODE)),
        records(db),
        db.read(state.labels),
        db.read(state.label_members),
        db.read(captions.all_captions),
        db.read(folders.folder_times, "view"),
        db.read(state.sized_counts),
    ]


def test_everything_arrives(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """Rows, records, names, labels, captions, times of folders; and nobody is asked again."""
    synced_at_s = full.read(state.sync_state).synced_at_s
    file = exported(tmp_path, clock)
    clock.advance(60)
    assert import_snapshot(farm, LIBRARY, clock, file) == Described(3, 1, synced_at_s)
    there = reopen(farm)
    wanted, found = content(full), content(there)
    public = replace(made("E3", title="half \ud83d"), preview_image_url=None)
    assert isinstance(wanted[1], list)
    wanted[1][2] = public
    assert found == wanted
    known = there.read(state.sync_state)
    assert known.is_imported
    assert known[1:7] == full.read(state.sync_state)[1:7]
    assert give_names(there, MODE, file_names) == 0
    assert not list((farm / "catalog").glob("*snapshot*")), "no scratch file stays"


def test_no_url_and_no_secret_is_in_it(full: CatalogDb, tmp_path: Path, clock: ManualClock) -> None:
    """Not even the address of the next page of a listing, or one of a picture with a signature."""
    FullSync(full).add([made("E9")], "/v2/assets?api_key=KEY&signature=SIGNED&page_token=2")
    Lease(full, "probe", 60.0).take()
    file = exported(tmp_path, clock)
    assert file.stat().st_mode & 0o777 == 0o600
    head, _, packed = file.read_bytes().partition(b"\n")
    database = zlib.decompressobj().decompress(packed)
    assert re.findall(rb"https?://[^\"]*", head + database) == [IMAGE.encode()]
    for word in (b"SIGNED", b"Signature", ACCOUNT.encode(), b"api.example.com", b"E9"):
        assert word not in head + database


def test_what_this_machine_knows_is_kept(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """Its sizes, names and captions; what it lacks, is older or is gone is as in the snapshot."""
    there = reopen(farm)
    walk(there, [made("E1"), made("E3", title="half \ud83d", updated=1500), made("E4")])
    there.write(assets.save_sources, [probed("E1", 4321), probed("E3", 77)])
    give_names(there, MODE, lambda nameless, _taken: {a.embed_code: "E3.mov" for a in nameless[:1]})
    before = there.read(state.generation)
    clock.advance(60)
    walk(full, [made("E1"), made("E2"), made("E3")])
    import_snapshot(farm, LIBRARY, clock, exported(tmp_path, clock))
    rows = {row.embed_code: row for row in there.read(assets.rows, MODE)}
    assert codes(there) == {"E1", "E2", "E3"}
    assert (rows["E1"].size, rows["E1"].verified) == (4321, 1)
    assert (rows["E3"].size, rows["E3"].verified) == (77, 0), "touched, and not probed since"
    assert rows["E2"].missing
    assert names(there) == {"E1": "E3.mov", "E2": "E2.mov", "E3": ""}, "no name is given twice"
    assert give_names(there, MODE, file_names) == 1
    assert there.read(captions.all_captions).keys() == {"E1"}
    delta = there.read(assets.changed_since, MODE, before)
    assert delta is not None
    assert {row.embed_code for row in delta[0]} == {"E1", "E2", "E3"}, "E1 has a label now"
    assert delta[1] == ["E4"]


def test_names_that_come_with_it_are_told(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """To mounts that have the rows without names."""
    there = reopen(farm)
    listed = [replace(record, preview_image_url=None) for record in records(full)]
    walk(there, listed)
    there.write(assets.save_sources, [probed("E1"), probed("E2"), probed("E3")])
    before = there.read(state.generation)
    clock.advance(60)
    walk(full, listed)
    import_snapshot(farm, LIBRARY, clock, exported(tmp_path, clock))
    delta = there.read(assets.changed_since, MODE, before)
    assert delta is not None
    assert {row.embed_code: row.name for row in delta[0]} == names(full)


def test_addresses_of_pictures_that_this_machine_has(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """A snapshot has none that may be signed, and takes none from the same record of an asset."""
    signed = f"{IMAGE}?Signature=def"
    there = reopen(farm)
    mine = [
        replace(made("E1"), preview_image_url=signed),
        replace(made("E2", title="old"), preview_image_url=signed),
        replace(made("E3", updated=1500), preview_image_url=signed),
        replace(made("E4", title="half \ud83d"), preview_image_url=signed),
    ]
    walk(there, mine)
    clock.advance(60)
    theirs = [replace(made("E1"), preview_image_url=f"{IMAGE}?Signature=abc", labels=(SPORTS,))]
    walk(full, [*theirs, made("E2"), made("E3"), mine[3]])
    for _ in range(2):
        import_snapshot(farm, LIBRARY, clock, exported(tmp_path, clock))
        found = {one.embed_code: one.preview_image_url for one in records(there)}
        assert found == {"E1": signed, "E2": None, "E3": None, "E4": signed}
    assert records(there)[0].labels == (SPORTS,)


def test_the_same_snapshot_twice_changes_nothing(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """No row is told of again."""
    file = exported(tmp_path, clock)
    import_snapshot(farm, LIBRARY, clock, file)
    there = reopen(farm)
    before, wanted = there.read(state.generation), content(there)
    import_snapshot(farm, LIBRARY, clock, file)
    delta = there.read(assets.changed_since, MODE, before)
    assert delta is not None
    assert (list(delta[0]), delta[1]) == ([], [])
    assert content(there) == wanted


def test_a_newer_listing_stays(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """A catalog that was synced after the snapshot is not taken back."""
    file = exported(tmp_path, clock)
    clock.advance(60)
    there = reopen(farm)
    walk(there, [made("E4")])
    assert import_snapshot(farm, LIBRARY, clock, file).is_newer
    assert codes(there) == {"E4"}
    assert not there.read(state.sync_state).is_imported


def test_a_clock_that_is_ahead(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """No listing is of the future, which would be listed anew at once."""
    file = exported(tmp_path, clock)
    clock.advance(-100)
    import_snapshot(farm, LIBRARY, clock, file)
    known = reopen(farm).read(state.sync_state)
    assert known.synced_at_s == known.full_sync_at_s == clock.now()


def test_nothing_is_exported_before_the_first_listing(
    tmp_path: Path, farm: Path, db: CatalogDb, clock: ManualClock
) -> None:
    """A part of a library is not a library; without a catalog none is made."""
    FullSync(db).add([made("E1")], "/page2")
    for cache_dir in (tmp_path, farm):
        with pytest.raises(CommandFailed, match="no mount has listed this library"):
            exported(cache_dir, clock)
        assert not (cache_dir / "snapshot.blfs").exists()
    assert not (farm / "catalog").exists()


def test_a_listing_in_progress(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """A mount that lists holds an import off; one whose lease is over does not take it back."""
    file = exported(tmp_path, clock)
    there = reopen(farm)
    lease, listing = Lease(there, "sync", 120.0), FullSync(there)
    assert lease.take()
    listing.add([made("E1")], "/page2")
    with pytest.raises(CommandFailed, match="a mount of this machine lists the library now"):
        import_snapshot(farm, LIBRARY, clock, file)
    assert codes(there) == set()
    clock.advance(120)
    import_snapshot(farm, LIBRARY, clock, file)
    with pytest.raises(FullSyncTaken):
        listing.add([made("E7")], None)
    assert listing.finish(doubt_empty=True).is_empty
    assert codes(there) == {"E1", "E2", "E3"}


def test_later_syncs_go_on_from_it(
    full: CatalogDb, tmp_path: Path, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """A change of an asset is a change; then the listing is this machine's own."""
    import_snapshot(farm, LIBRARY, clock, exported(tmp_path, clock))
    there = reopen(farm)
    clock.advance(60)
    result = apply(there, [made("E1", updated=3000)], synced_at_s=clock.now())
    assert result.touched == ("E1",)
    assert not there.read(state.sync_state).is_imported


@pytest.fixture
def small(full: CatalogDb, tmp_path: Path, clock: ManualClock) -> bytes:
    """The bytes of a snapshot."""
    return exported(tmp_path, clock).read_bytes()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_changes_nothing(
    data: st.DataObject, small: bytes, farm: Path, reopen: OpenDb, clock: ManualClock
) -> None:
    """Any changed byte, cut or addition is noticed before anything is stored."""
    place = data.draw(st.integers(0, len(small) - 1))
    kind = data.draw(st.sampled_from(["bit", "cut", "more"]))
    if kind == "bit":
        changed = bytes([small[place] ^ 1 << data.draw(st.integers(0, 7))])
        bad = small[:place] + changed + small[place + 1 :]
    else:
        bad = small[:place] if kind == "cut" else small + b"x"
    file = farm / "bad"
    file.write_bytes(bad)
    with pytest.raises(SettingsError):
        import_snapshot(farm, LIBRARY, clock, file)
    assert not list((farm / "catalog").glob("*.sqlite3"))


def changed_head(file: Path, **changes: object) -> None:
    """Change the first line; the checksum is right again."""
    head, _, rest = file.read_bytes().partition(b"\n")
    line = json.dumps({**json.loads(head), **changes}).encode() + b"\n"
    whole = line + rest[:-64]
    file.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "later version of backlotfs"),
        ({"library": "0" * 24}, "of the library '00000000'"),
        ({"format": "other"}, "is not a catalog snapshot"),
        ({"database_bytes": 5}, "is damaged"),
        ({"database_bytes": "many"}, "is not a catalog snapshot"),
    ],
)
def test_what_is_refused(
    full: CatalogDb,
    tmp_path: Path,
    farm: Path,
    clock: ManualClock,
    changes: dict[str, object],
    said: str,
) -> None:
    """With one line; nothing is stored."""
    file = exported(tmp_path, clock)
    changed_head(file, **changes)
    with pytest.raises(SettingsError, match=said):
        import_snapshot(farm, LIBRARY, clock, file)
    assert not list((farm / "catalog").glob("*.sqlite3"))


def test_a_database_of_a_later_version(
    full: CatalogDb, tmp_path: Path, farm: Path, clock: ManualClock
) -> None:
    """Its tables may be others; one that is no database at all is refused too."""
    file = exported(tmp_path, clock)
    head, _, packed = file.read_bytes().partition(b"\n")
    database = tmp_path / "changed"
    database.write_bytes(zlib.decompressobj().decompress(packed))
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for bytes_of in (database.read_bytes(), b"SELECT" * 1000):
        whole = json.dumps({**json.loads(head), "database_bytes": len(bytes_of)}).encode() + b"\n"
        whole += zlib.compress(bytes_of)
        file.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())
        with pytest.raises(SettingsError, match="cannot be imported"):
            import_snapshot(farm, LIBRARY, clock, file)
    assert not list((farm / "catalog").glob("*.sqlite3"))


def test_a_file_that_cannot_be_written(full: CatalogDb, tmp_path: Path, clock: ManualClock) -> None:
    """One line; what was there stays, and nothing is left beside it."""
    (tmp_path / "folder").mkdir()
    for to in (tmp_path / "missing" / "file", tmp_path / "folder"):
        with pytest.raises(CommandFailed, match=r"cannot be written|is not a file"):
            export_snapshot(tmp_path, LIBRARY, clock, to)
    assert not [name for name in tmp_path.rglob("*") if name.suffix == ".new"]
