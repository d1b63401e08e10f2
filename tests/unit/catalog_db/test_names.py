# SPDX-License-Identifier: Apache-2.0
"""Given names: they stay, they are unique, and all mounts agree on them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import assets, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.names import given_names, nameless
from backlotfs.catalog.db.rows import NamelessAsset
from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import catalog_naming, names_for
from tests.unit.catalog_db.catalogs import (
    MODE,
    OpenDb,
    apply,
    file_names,
    give_names,
    giving,
    made,
    names,
    walk,
)


def test_the_nameless_are_named_once(db: CatalogDb, reopen: OpenDb) -> None:
    """The name is there for every mount, and nobody is asked again."""
    walk(db, [made("E1"), made("E2", title="Harbour")])
    assert db.read(nameless, MODE) == [
        NamelessAsset("E1", "E1.mov", "T", 1000),
        NamelessAsset("E2", "E2.mov", "Harbour", 1000),
    ]
    assert give_names(db, MODE, file_names) == 2
    assert db.read(nameless, MODE) == []
    assert names(reopen()) == {"E1": "E1.mov", "E2": "E2.mov"}

    def nobody(assets: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
        raise AssertionError

    assert give_names(db, MODE, nobody) == 0


def test_a_name_stays_whatever_becomes_of_the_record(db: CatalogDb) -> None:
    """An edit, a full walk, another asset that wants it."""
    walk(db, [made("E1")])
    give_names(db, MODE, file_names)
    walk(db, [made("E1", updated=9, title="x"), made("E0")])
    give_names(db, MODE, giving({"E0": "E1.mov [E0]"}))
    assert names(db) == {"E1": "E1.mov", "E0": "E1.mov [E0]"}


def test_the_taken_names_are_told(db: CatalogDb) -> None:
    """By key, only those of the mode."""
    walk(db, [made("E1")])
    give_names(db, MODE, giving({"E1": "Clip.mov"}), key_of=str.lower)
    apply(db, [made("E2")])
    seen: list[bool] = []

    def ask(assets: list[NamelessAsset], taken: Container[object]) -> dict[str, str]:
        seen.extend(key in taken for key in ("clip.mov", "Clip.mov", "other", 7))
        return {}

    give_names(db, MODE, ask, key_of=str.lower)
    give_names(db, "portable", ask, key_of=str.lower)
    assert seen == [True, False, False, False] + [False] * 4


def test_modes_have_names_of_their_own(db: CatalogDb) -> None:
    """The same asset, the same name, another mode."""
    walk(db, [made("E1")])
    give_names(db, MODE, file_names)
    assert names(db, "portable") == {"E1": ""}
    give_names(db, "portable", giving({"E1": "E1.mov"}))
    assert names(db, "portable") == names(db)


def test_whom_assign_left_out_is_offered_again(db: CatalogDb) -> None:
    """And so are those that came later, whatever was named before and after them."""
    walk(db, [made("E1"), made("E2"), made("E3")])
    assert give_names(db, MODE, giving({"E1": "a", "E3": "c", "E9": "x"})) == 2
    assert [asset.embed_code for asset in db.read(nameless, MODE)] == ["E2"]
    apply(db, [made("E4")])
    assert [asset.embed_code for asset in db.read(nameless, MODE)] == ["E2", "E4"]
    assert give_names(db, MODE, file_names) == 2
    assert names(db) == {"E1": "a", "E2": "E2.mov", "E3": "c", "E4": "E4.mov"}


def test_a_deleted_asset_frees_its_name(db: CatalogDb) -> None:
    """Another may have it; the asset itself, made again, gets a new one."""
    walk(db, [made("E1"), made("E2")])
    give_names(db, MODE, file_names)
    apply(db, [], [DeletedAsset("E2", 9000)])
    apply(db, [made("E3")])
    give_names(db, MODE, giving({"E3": "E2.mov"}))
    apply(db, [made("E2")])
    assert [asset.embed_code for asset in db.read(nameless, MODE)] == ["E2"]
    give_names(db, MODE, file_names)
    assert names(db)["E2"] == "E2.mov [E2]"


@pytest.mark.parametrize("wrong", [{"E1": "b"}, {"E1": "x", "E3": "X"}, {"E1": ""}])
def test_a_wrong_name_is_refused(db: CatalogDb, wrong: dict[str, str]) -> None:
    """Taken, given twice, empty: and none of that call is kept."""
    walk(db, [made("E1"), made("E2"), made("E3")])
    give_names(db, MODE, giving({"E2": "b"}), key_of=str.lower)
    with pytest.raises(ValueError, match="name"):
        give_names(db, MODE, giving(wrong), key_of=str.lower)
    assert names(db) == {"E1": "", "E2": "b", "E3": ""}


def test_a_new_name_is_a_change(db: CatalogDb) -> None:
    """Another mount gets the row, with the name in its own mode."""
    walk(db, [made("E1"), made("E2")])
    give_names(db, MODE, giving({"E1": "a"}))
    seen = db.read(state.generation)
    give_names(db, MODE, file_names)
    changed = db.read(assets.changed_since, MODE, seen)
    assert changed is not None
    assert [row.name for row in changed[0]] == ["E2.mov"]


def test_an_error_of_assign_undoes_the_call(db: CatalogDb) -> None:
    """And the database goes on."""
    walk(db, [made("E1")])

    def broken(assets: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        give_names(db, MODE, broken)
    assert give_names(db, MODE, file_names) == 1


def test_names_without_a_mount(db: CatalogDb, tmp_path: Path) -> None:
    """A command reads them from the file, beside the mount and after it; none is made."""
    walk(db, [made("E1"), made("E2")])
    give_names(db, MODE, file_names)
    assert db.path is not None
    expected = {"E1": "E1.mov", "E2": "E2.mov"}
    assert given_names(db.path, MODE) == expected
    db.close()
    assert given_names(db.path, MODE) == expected
    assert given_names(db.path, "another-mode") == {}
    assert given_names(tmp_path / "other" / "catalog.sqlite3", MODE) == {}
    assert not (tmp_path / "other").exists()


def test_names_in_a_place_that_others_can_change(
    db: CatalogDb, caplog: pytest.LogCaptureFixture
) -> None:
    """Not read, and said."""
    walk(db, [made("E1")])
    give_names(db, MODE, file_names)
    assert db.path is not None
    db.close()
    db.path.parent.chmod(0o777)
    assert given_names(db.path, MODE) == {}
    assert "the saved catalog cannot be used" in caplog.text
    assert str(db.path.parent) in caplog.text


@pytest.mark.parametrize("mode", NameMode)
@pytest.mark.parametrize("mounted_before", [0, 2, 5])
def test_commands_print_the_names_of_the_mount(
    db: CatalogDb, mode: NameMode, mounted_before: int
) -> None:
    """However many assets want one name, and whichever of them have a name already."""
    uploads = ["clip.mov", "CLIP.mov", "clip.mov", "clip.mov", "clip [E3].mov"]
    everything = [
        replace(made(f"E{number}"), original_file_name=name) for number, name in enumerate(uploads)
    ]
    assert db.path is not None
    rules = catalog_naming(mode)
    walk(db, everything[:mounted_before])
    give_names(db, mode, rules.assign, key_of=rules.key_of)
    printed = names_for(mode, everything, given_names(db.path, mode))
    walk(db, everything)
    give_names(db, mode, rules.assign, key_of=rules.key_of)
    assert given_names(db.path, mode) == printed
    assert len(set(printed.values())) == len(uploads)
