# SPDX-License-Identifier: Apache-2.0
"""A folder as a library, with and without a ``library.json``."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import EmulatedAsset, FileContent, Library
from backlotfs.emulator.folder_library import ASSET_FIELDS, TOP_FIELDS, parse_size, read_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files, one of them deep, and two that are not media."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.mov").write_bytes(b"aaaa")
    (tmp_path / "b.mp3").write_bytes(b"bb")
    (tmp_path / "deep" / "er" / "a.mov").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(b"x")
    os.utime(tmp_path / "a.mov", (1_400_000_000, 1_400_000_000))
    return tmp_path


def described(folder: Path, **document: Any) -> Library:
    """The library of the folder with this ``library.json``."""
    (folder / "library.json").write_text(json.dumps(document), encoding="utf-8")
    return Library.from_folder(folder)


def by_title(library: Library, title: str) -> EmulatedAsset:
    """The one asset of this title."""
    return next(one for one in library.ordered() if one.title == title)


def test_files_become_assets(folder: Path) -> None:
    """Name, size, date and type come from the file; hidden ones stay out."""
    library = Library.from_folder(folder)
    found = sorted((one.original_file_name, one.asset_type) for one in library.ordered())
    assert found == [("a.mov", "video"), ("a.mov", "video"), ("b.mp3", "audio")]
    first = next(one for one in library.ordered() if one.content and one.content.size == 4)
    assert first.created_at == 1_400_000_000
    assert first.content is not None
    assert first.content.last_modified == 1_400_000_000
    assert first.object_key.endswith("/0000000000000-0000000000003")


def test_embed_codes_are_stable(folder: Path) -> None:
    """A restart, and a new file beside them, change no embed code."""
    before = {one.embed_code for one in Library.from_folder(folder).ordered()}
    (folder / "new.mov").write_bytes(b"n")
    after = {one.embed_code for one in Library.from_folder(folder).ordered()}
    assert before < after
    assert all(len(code) == 32 for code in after)


def test_changed_file_moves_updated_at(folder: Path) -> None:
    """A file that is written to shows in the record, as an upload would."""
    library = Library.from_folder(folder)
    asset = next(one for one in library.ordered() if one.created_at == 1_400_000_000)
    os.utime(folder / "a.mov", (1_500_000_000, 1_500_000_000))
    assert asset.changed_at == 1_500_000_000


def test_names_that_are_not_utf8(folder: Path) -> None:
    """Such a name is served with the replacement character, and its bytes all the same."""
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.mov")).write_bytes(b"odd")
    library = Library.from_folder(folder)
    odd = next(one for one in library.ordered() if one.original_file_name == "\ufffd.mov")
    assert odd.content is not None
    assert odd.content.read(0, 9) == b"odd"


def test_library_file(folder: Path) -> None:
    """Titles, labels, states, duplicates of one file, made-up bytes, assets without a source."""
    library = described(
        folder,
        labels=[
            {"name": "Sports", "children": [{"name": "Racing", "key": "racing"}]},
            {"name": "Sports"},
        ],
        assets=[
            {"file": "a.mov", "title": "First", "labels": ["/Sports/Racing", "/Sports"],
             "metadata": {"k": "v"}, "created_at": "2015-01-01T00:00:00Z"},
            {"file": "a.mov", "title": "Second", "original_file_name": None, "status": "paused"},
            {"synthetic": "100G", "title": "Long", "created_at": 5, "labels": ["racing"]},
            {"title": "Bare", "asset_type": "channel"},
        ],
    )  # fmt: skip  # a line to an entry
    assert len(library) == 6
    assert len(library.labels()) == 5  # and those of the folders
    first, second = by_title(library, "First"), by_title(library, "Second")
    assert first.embed_code != second.embed_code
    assert first.content == second.content
    assert second.original_file_name is None
    names = [library.label(label_id) for label_id in first.label_ids]
    assert [library.full_name(one) for one in names if one] == ["/Sports/Racing", "/Sports"]
    assert first.created_at == 1_420_070_400
    long = by_title(library, "Long")
    assert long.content is not None
    assert long.content.size == 100 * 2**30
    assert by_title(library, "Bare").content is None


def labels_of(library: Library) -> dict[str, list[str]]:
    """The full names of the labels of each asset that is a file, by its path."""
    return {
        str(one.content.path).rpartition("/media/")[2]: [
            library.full_name(label)
            for label in map(library.label, one.label_ids)
            if label is not None
        ]
        for one in library.ordered()
        if isinstance(one.content, FileContent)
    }


def test_folders_are_labels(tmp_path: Path) -> None:
    """A file has the label of its folder, the label that library.json describes if there is one."""
    media = tmp_path / "media"
    (media / "Sports" / "Racing").mkdir(parents=True)
    (media / "News").mkdir()
    for name in ("top.mov", "Sports/a.mov", "Sports/Racing/b.mov", "News/c.mov"):
        (media / name).write_bytes(b"x")
    assert labels_of(Library.from_folder(media)) == {
        "top.mov": [],
        "Sports/a.mov": ["/Sports"],
        "Sports/Racing/b.mov": ["/Sports/Racing"],
        "News/c.mov": ["/News"],
    }
    tree = [{"name": "Sports", "children": [{"name": "Racing", "id": "r1"}]}, {"name": "Own"}]
    entries = [{"file": "News/c.mov", "labels": ["/Own"]}, {"file": "Sports/a.mov", "title": "A"}]
    library = described(media, labels=tree, assets=entries)
    assert labels_of(library)["News/c.mov"] == ["/Own"]
    assert labels_of(library)["Sports/a.mov"] == ["/Sports"]
    assert len(library.labels()) == 3
    assert next(one for one in library.labels() if one.name == "Racing").label_id == "r1"
    entries = [{"file": "top.mov", "labels": ["/Sports/Racing", "/News"]}]
    assert labels_of(described(media, assets=entries))["top.mov"] == ["/Sports/Racing", "/News"]
    with pytest.raises(ValueError, match="no label"):
        described(media, assets=entries, folder_labels=False)
    library = described(media, folder_labels=False)
    assert set(map(tuple, labels_of(library).values())) == {()}
    assert library.labels() == []


def test_what_is_skipped_is_known(folder: Path) -> None:
    """Hidden, special and linked files, each by its path."""
    os.mkfifo(folder / "pipe.mov")
    (folder / "link.mov").symlink_to("a.mov")
    scan = read_folder(folder).scan
    assert (scan.special, scan.links) == (["pipe.mov"], ["link.mov"])
    assert sorted(scan.hidden) == [".git", ".hidden"]


def test_a_library_follows_its_folder(folder: Path) -> None:
    """New, deleted, changed and described files; what did not change keeps its record."""
    before = read_folder(folder)
    library = Library(before.assets, before.labels, clock=lambda: 1_800_000_000.0)
    kept = by_title(library, "b")
    os.utime(folder / "a.mov", (1_300_000_000, 1_300_000_000))
    (folder / "deep" / "er" / "a.mov").unlink()
    (folder / "new").mkdir()
    (folder / "new" / "n.mov").write_bytes(b"n")
    os.utime(folder / "new" / "n.mov", (1_400_000_000, 1_400_000_000))
    after = read_folder(folder, before=before)
    library.follow(before, after)
    assert sorted(one.title for one in library.ordered()) == ["a", "b", "n"]
    assert by_title(library, "b") == kept
    assert by_title(library, "a").changed_at >= 1_800_000_000
    assert by_title(library, "a").created_at == 1_400_000_000
    new = by_title(library, "n")
    assert (new.created_at, new.changed_at) == (1_400_000_000, 1_800_000_000)
    assert [library.full_name(one) for one in library.labels()] == ["/new"]
    assert [one.asset.title for one in library.deleted()] == ["a"]
    (folder / "library.json").write_text('{"assets": [{"file": "b.mp3", "title": "Told"}]}')
    library.follow(after, read_folder(folder, before=after))
    assert by_title(library, "Told").embed_code == kept.embed_code


def test_a_described_file_that_is_deleted(folder: Path) -> None:
    """The rest is served on; a name that never was a file's is a mistake all the same."""
    (folder / "library.json").write_text('{"assets": [{"file": "b.mp3", "title": "Told"}]}')
    found = read_folder(folder)
    (folder / "b.mp3").unlink()
    for _ in range(2):
        found = read_folder(folder, before=found)
        assert "Told" not in [one.title for one in found.assets]
        assert "a" in [one.title for one in found.assets]
    with pytest.raises(ValueError, match="not in the folder"):
        read_folder(folder)


def test_a_new_file_waits_until_it_is_written(folder: Path) -> None:
    """It has no asset while it is fresh, also if library.json describes it."""
    before = read_folder(folder)
    (folder / "new.mov").write_bytes(b"n")
    (folder / "library.json").write_text('{"assets": [{"file": "new.mov", "title": "N"}]}')
    os.utime(folder / "new.mov")
    fresh = read_folder(folder, before=before)
    assert list(fresh.waiting) == ["new.mov"]
    assert "N" not in [one.title for one in fresh.assets]
    os.utime(folder / "new.mov", (1_400_000_000, 1_400_000_000))
    assert "N" in [one.title for one in read_folder(folder, before=fresh).assets]


def test_the_page_and_the_schema_describe_it(folder: Path) -> None:
    """The example of docs/library-json.md is read; the schema has the fields that are read."""
    docs = Path(__file__).parents[2] / "docs"
    example = re.findall(r"```json\n(.*?)```", (docs / "library-json.md").read_text("utf-8"), re.S)
    (folder / "harbour.mov").write_bytes(b"h")
    assert len(described(folder, **json.loads(example[0]))) == 7
    schema = json.loads((docs / "library.schema.json").read_text("utf-8"))
    entry = schema["$defs"]["asset"]["properties"]
    assert set(entry) == {*ASSET_FIELDS, "file", "synthetic", "labels"}
    assert set(schema["properties"]) == TOP_FIELDS
    page = (docs / "library-json.md").read_text("utf-8")
    assert [name for name in (*entry, *TOP_FIELDS - {"$schema"}) if f"`{name}`" not in page] == []


def test_only_listed(folder: Path) -> None:
    """On demand, what is not listed is not served."""
    library = described(folder, only_listed=True, assets=[{"file": "b.mp3"}])
    assert [one.original_file_name for one in library.ordered()] == ["b.mp3"]


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"assets": [{"file": "gone.mov"}]}, "gone.mov"),
        ({"assets": [{"file": "a.mov", "titel": "x"}]}, "titel"),
        ({"assets": [{"file": "a.mov", "labels": ["/None"]}]}, "/None"),
        ({"assets": [{"synthetic": "much"}]}, "much"),
        ({"assets": ["a.mov"]}, "library.json"),
        ({"labels": [{}]}, "library.json"),
        ([], "library.json"),
    ],
)
def test_mistakes_are_named(folder: Path, document: Any, complaint: str) -> None:
    """A library file that is wrong is refused with the place that is wrong."""
    (folder / "library.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        Library.from_folder(folder)


def test_no_folder(tmp_path: Path) -> None:
    """A file, or nothing, is no folder."""
    with pytest.raises(ValueError, match="not a folder"):
        Library.from_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "expected"), [("5", 5), (7, 7), ("5K", 5120), ("2MiB", 2 * 2**20), ("1G", 2**30)]
)
def test_sizes(text: str | int, expected: int) -> None:
    """Sizes are in powers of 1024."""
    assert parse_size(text) == expected
