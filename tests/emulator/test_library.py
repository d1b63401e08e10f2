# SPDX-License-Identifier: Apache-2.0
"""The library as an account changes it: every change shows where a client would look."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.emulator import BytesContent, EmulatedAsset, Library, SyntheticContent
from tests.emulator.conftest import BARE, CLIP, CLIP_SIZE
from tests.fakes.clocks import ManualClock


def test_replacement_by_another_size(library: Library) -> None:
    """The embed code stays; key, ETag, Last-Modified and updated_at move."""
    before = library.get(CLIP)
    after = library.replace(CLIP, size=5)
    assert before.content is not None
    assert after.content is not None
    assert after.object_key == f"{CLIP}/0000000000000-0000000000004"
    assert after.content.etag != before.content.etag
    assert after.content.last_modified > before.content.last_modified
    assert after.changed_at > before.changed_at


def test_replacement_by_equal_size(library: Library) -> None:
    """The key stays too; the validators move even when the very same bytes are uploaded."""
    library.replace(CLIP, content=b"one")
    before = library.get(CLIP)
    after = library.replace(CLIP, content=b"one")
    assert before.content is not None
    assert after.content is not None
    assert after.object_key == before.object_key
    assert after.content.etag != before.content.etag
    assert after.content.last_modified > before.content.last_modified
    assert after.changed_at > before.changed_at


@pytest.mark.parametrize("size", [CLIP_SIZE, 5])
def test_replacement_beside_the_old_object(library: Library, size: int) -> None:
    """A key of its own, whatever the size; what lies under the old ones stays, to the deletion."""
    versions = [library.get(CLIP)]
    versions += [library.replace(CLIP, size=size, keep_old=True) for _ in range(2)]
    assert len({asset.object_key for asset in versions}) == 3
    for asset in versions:
        assert library.object(asset.object_key) is asset.content
    overwritten = library.replace(CLIP, content=b"x")
    assert library.object(overwritten.object_key) is overwritten.content
    assert library.object(versions[0].object_key) is versions[0].content
    library.delete(CLIP)
    assert [library.object(asset.object_key) for asset in versions] == [None] * 3


def test_replacement_by_a_file(library: Library, tmp_path: Path) -> None:
    """A file older than the source it replaces gets a younger date."""
    path = tmp_path / "new.mov"
    path.write_bytes(b"new")
    before = library.get(CLIP).content
    after = library.replace(CLIP, path=path).content
    assert before is not None
    assert after is not None
    assert after.read(0, 9) == b"new"
    assert after.last_modified > before.last_modified


def test_replacement_needs_one_source(library: Library) -> None:
    """Neither none nor two."""
    with pytest.raises(ValueError, match="exactly one"):
        library.replace(CLIP)
    with pytest.raises(ValueError, match="exactly one"):
        library.replace(CLIP, size=5, content=b"x")


def test_edit_moves_updated_at_only(library: Library, clock: ManualClock) -> None:
    """A new title is no new source; each edit within one second still shows."""
    first = library.edit(CLIP, title="New")
    second = library.edit(CLIP, title="Newer")
    assert first.updated_at == int(clock.now())
    assert second.updated_at == first.updated_at + 1
    assert second.content is library.get(CLIP).content
    assert second.content == SyntheticContent(7, CLIP_SIZE)


def test_deletion(library: Library, clock: ManualClock) -> None:
    """Only the list of deleted assets still knows it, the newest deletion first."""
    library.delete(CLIP)
    clock.advance(5)
    library.delete(BARE)
    assert library.find(CLIP) is None
    assert [one.asset.embed_code for one in library.deleted()] == [BARE, CLIP]
    assert all(one.embed_code not in (CLIP, BARE) for one in library.ordered())


def test_embed_codes_are_unique(library: Library) -> None:
    """A second asset under one embed code is refused."""
    with pytest.raises(ValueError, match="two assets"):
        library.add(EmulatedAsset(CLIP, "again"))


def test_deleted_label_leaves_its_assets(library: Library) -> None:
    """The assets stay, and their records move."""
    before = library.get(CLIP).changed_at
    library.delete_label("2" * 32)
    assert library.get(CLIP).label_ids == ("4" * 32,)
    assert library.get(CLIP).changed_at > before
    assert library.label("2" * 32) is None


def test_label_cycle_has_a_name(library: Library) -> None:
    """A tree that someone tied into a ring does not hang the server."""
    racing = library.label("2" * 32)
    sports = library.label("1" * 32)
    assert racing is not None
    assert sports is not None
    library.put_label(type(sports)(sports.label_id, sports.name, racing.label_id))
    assert library.full_name(racing) == "/Sports/Racing"


def test_synthetic_library() -> None:
    """Same arguments, same library: ties in created_at, duplicate names, sizes as told."""
    library = Library.synthetic(200, size_bytes=lambda index: index)
    again = Library.synthetic(200, size_bytes=lambda index: index)
    assets = library.ordered()
    assert assets == again.ordered()
    assert len({one.created_at for one in assets}) == 4
    assert len({one.original_file_name for one in assets}) == 198
    assert {one.content.size for one in assets if one.content} == set(range(200))
    assert len({one.content.read(0, 64) for one in assets if one.content}) > 190


def test_huge_asset_costs_nothing() -> None:
    """Bytes near the end of 10 TB are there at once."""
    size = 10 * 2**40
    content = SyntheticContent(1, size)
    assert len(content.read(size - 5, 100)) == 5
    assert content.read(2**40, 8) != content.read(2**41, 8)


def test_contents_are_values() -> None:
    """Equal contents compare equal, so that a test can say what it expects."""
    assert BytesContent(b"x") == BytesContent(b"x")
