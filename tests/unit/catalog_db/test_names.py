"""Given names: they stay, they are unique, and all mounts agree on them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db.names import given_names
from backlotfs.catalog.db.rows import NamelessAsset
from backlotfs.catalog.db.store import CatalogStore
from backlotfs.namespace.naming import NameMode, give_names, names_for
from tests.unit.catalog_db.stores import (
    MODE,
    OpenStore,
    file_names,
    giving,
    made,
    names,
    walk,
)


def test_the_nameless_are_named_once(store: CatalogStore, reopen: OpenStore) -> None:
    """The name is there for every mount, and nobody is asked again."""
    walk(store, [made("E1"), made("E2", title="Harbour")])
    assert store.names_missing(MODE) == [
        NamelessAsset("E1", "E1.mov", "T", 1000),
        NamelessAsset("E2", "E2.mov", "Harbour", 1000),
    ]
    assert store.give_names(MODE, file_names) == 2
    assert store.names_missing(MODE) == []
    assert names(reopen()) == {"E1": "E1.mov", "E2": "E2.mov"}

    def nobody(assets: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
        raise AssertionError

    assert store.give_names(MODE, nobody) == 0


def test_a_name_stays_whatever_becomes_of_the_record(store: CatalogStore) -> None:
    """An edit, a full walk, another asset that wants it."""
    walk(store, [made("E1")])
    store.give_names(MODE, file_names)
    walk(store, [made("E1", updated=9, title="x"), made("E0")])
    store.give_names(MODE, giving({"E0": "E1.mov [E0]"}))
    assert names(store) == {"E1": "E1.mov", "E0": "E1.mov [E0]"}


def test_the_taken_names_are_told(store: CatalogStore) -> None:
    """By key, only those of the mode."""
    walk(store, [made("E1")])
    store.give_names(MODE, giving({"E1": "Clip.mov"}), key_of=str.lower)
    store.apply([made("E2")], [], synced_at_s=1.0)
    seen: list[bool] = []

    def ask(assets: list[NamelessAsset], taken: Container[object]) -> dict[str, str]:
        seen.extend(key in taken for key in ("clip.mov", "Clip.mov", "other", 7))
        return {}

    store.give_names(MODE, ask, key_of=str.lower)
    store.give_names("portable", ask, key_of=str.lower)
    assert seen == [True, False, False, False] + [False] * 4


def test_modes_have_names_of_their_own(store: CatalogStore) -> None:
    """The same asset, the same name, another mode."""
    walk(store, [made("E1")])
    store.give_names(MODE, file_names)
    assert names(store, "portable") == {"E1": ""}
    store.give_names("portable", giving({"E1": "E1.mov"}))
    assert names(store, "portable") == names(store)


def test_whom_assign_left_out_is_offered_again(store: CatalogStore) -> None:
    """And so are those that came later, whatever was named before and after them."""
    walk(store, [made("E1"), made("E2"), made("E3")])
    assert store.give_names(MODE, giving({"E1": "a", "E3": "c", "E9": "x"})) == 2
    assert [asset.embed_code for asset in store.names_missing(MODE)] == ["E2"]
    store.apply([made("E4")], [], synced_at_s=1.0)
    assert [asset.embed_code for asset in store.names_missing(MODE)] == ["E2", "E4"]
    assert store.give_names(MODE, file_names) == 2
    assert names(store) == {"E1": "a", "E2": "E2.mov", "E3": "c", "E4": "E4.mov"}


def test_a_deleted_asset_frees_its_name(store: CatalogStore) -> None:
    """Another may have it; the asset itself, made again, gets a new one."""
    walk(store, [made("E1"), made("E2")])
    store.give_names(MODE, file_names)
    store.apply([], [DeletedAsset("E2", 9000)], synced_at_s=1.0)
    store.apply([made("E3")], [], synced_at_s=1.0)
    store.give_names(MODE, giving({"E3": "E2.mov"}))
    store.apply([made("E2")], [], synced_at_s=1.0)
    assert [asset.embed_code for asset in store.names_missing(MODE)] == ["E2"]
    store.give_names(MODE, file_names)
    assert names(store)["E2"] == "E2.mov [E2]"


@pytest.mark.parametrize("wrong", [{"E1": "b"}, {"E1": "x", "E3": "X"}, {"E1": ""}])
def test_a_wrong_name_is_refused(store: CatalogStore, wrong: dict[str, str]) -> None:
    """Taken, given twice, empty: and none of that call is kept."""
    walk(store, [made("E1"), made("E2"), made("E3")])
    store.give_names(MODE, giving({"E2": "b"}), key_of=str.lower)
    with pytest.raises(ValueError, match="name"):
        store.give_names(MODE, giving(wrong), key_of=str.lower)
    assert names(store) == {"E1": "", "E2": "b", "E3": ""}


def test_a_new_name_is_a_change(store: CatalogStore) -> None:
    """Another mount gets the row, with the name in its own mode."""
    walk(store, [made("E1"), made("E2")])
    store.give_names(MODE, giving({"E1": "a"}))
    seen = store.generation()
    store.give_names(MODE, file_names)
    changed = store.rows_changed_since(MODE, seen)
    assert changed is not None
    assert [row.name for row in changed[0]] == ["E2.mov"]


def test_an_error_of_assign_undoes_the_call(store: CatalogStore) -> None:
    """And the store goes on."""
    walk(store, [made("E1")])

    def broken(assets: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        store.give_names(MODE, broken)
    assert store.give_names(MODE, file_names) == 1


def test_names_without_a_mount(store: CatalogStore, tmp_path: Path) -> None:
    """A command reads them from the file, beside the mount and after it; none is made."""
    walk(store, [made("E1"), made("E2")])
    store.give_names(MODE, file_names)
    assert store.path is not None
    expected = {"E1": "E1.mov", "E2": "E2.mov"}
    assert given_names(store.path, MODE) == expected
    store.close()
    assert given_names(store.path, MODE) == expected
    assert given_names(store.path, "another-mode") == {}
    assert given_names(tmp_path / "other" / "catalog.sqlite3", MODE) == {}
    assert not (tmp_path / "other").exists()


def test_names_in_a_place_that_others_can_change(
    store: CatalogStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Not read, and said."""
    walk(store, [made("E1")])
    store.give_names(MODE, file_names)
    assert store.path is not None
    store.close()
    store.path.parent.chmod(0o777)
    assert given_names(store.path, MODE) == {}
    assert "the saved catalog cannot be used" in caplog.text
    assert str(store.path.parent) in caplog.text


@pytest.mark.parametrize("mode", NameMode)
@pytest.mark.parametrize("mounted_before", [0, 2, 5])
def test_commands_print_the_names_of_the_mount(
    store: CatalogStore, mode: NameMode, mounted_before: int
) -> None:
    """However many assets want one name, and whichever of them have a name already."""
    uploads = ["clip.mov", "CLIP.mov", "clip.mov", "clip.mov", "clip [E3].mov"]
    assets = [
        replace(made(f"E{number}"), original_file_name=name) for number, name in enumerate(uploads)
    ]
    assert store.path is not None
    walk(store, assets[:mounted_before])
    give_names(store, mode)
    printed = names_for(mode, assets, given_names(store.path, mode))
    walk(store, assets)
    give_names(store, mode)
    assert given_names(store.path, mode) == printed
    assert len(set(printed.values())) == len(uploads)
