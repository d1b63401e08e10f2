# SPDX-License-Identifier: Apache-2.0
"""The table of assets: what it holds, and its next version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.catalog.db import table
from backlotfs.catalog.db.rows import AssetRow, DamagedRecord
from backlotfs.catalog.db.table import AssetTable
from tests.fakes.records import row

CODES = ["A", "B", "C", "AA", "BB", "é"]
numbers = st.integers(-(2**63), 2**63 - 1)
validators = st.none() | st.sampled_from(['"v1"', 'W/"é"', "Tue, 01 Mar 2016 21:49:25 GMT"])
rows = st.builds(
    AssetRow,
    st.sampled_from(CODES),
    st.just(0),
    st.sampled_from(["", "a.mov", "é.mov", "\udc80"]),
    st.sampled_from(["video", "audio", "a\nb"]),
    st.sampled_from(["live", ""]),
    numbers,
    numbers,
    numbers,
    validators,
    validators,
    numbers,
    st.integers(0, 1),
    st.integers(0, 1),
)
batches = st.lists(
    st.tuples(
        st.lists(rows, unique_by=lambda one: one.embed_code), st.lists(st.sampled_from(CODES))
    ),
    min_size=1,
)


@pytest.mark.parametrize("shared", [False, True])
@given(batches=batches)
def test_a_table_is_its_rows(shared: bool, batches: list[tuple[list[AssetRow], list[str]]]) -> None:
    """In their order, after any changes; inode numbers are distinct though two hashes are one."""

    def hashed(code: str) -> int:
        return len(code) + 1 if shared else CODES.index(code) + 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "inode_of", hashed)
        now, known = AssetTable(), dict[str, AssetRow]()
        for changed, removed in batches:
            before, was = now, list(now)
            batch = [one._replace(inode=hashed(one.embed_code)) for one in changed]
            gone = [
                code for code in set(removed) & set(known) if code not in {*map(code_of, batch)}
            ]
            now = now.updated(batch, gone)
            known.update({one.embed_code: one for one in batch})
            for code in gone:
                del known[code]
            assert list(before) == was
            check(now, known)
            if known:
                check(AssetTable.unpacked(now.packed()), known)
        if not shared:
            assert [one.inode for one in now] == [hashed(code) for code in known]


def code_of(one: AssetRow) -> str:
    """Its embed code."""
    return one.embed_code


def check(now: AssetTable, known: dict[str, AssetRow]) -> None:
    """Whether a table says the same as its rows."""
    assert len(now) == len(known)
    assert [one._replace(inode=0) for one in now] == [
        one._replace(inode=0) for one in known.values()
    ]
    assert len({one.inode for one in now}) == len(known)
    for code in CODES:
        found = now.get(code)
        assert (code in now) == (code in known) == (found is not None)
        if found is not None:
            assert found.embed_code == code
            assert now.at(found.inode) == found
            assert now.inode(code) == found.inode
    inodes = list(now.numbers)
    assert list(now.codes(inodes)) == list(known)
    assert list(now.names(inodes)) == [one.name for one in known.values()]
    assert list(now.creation_times(inodes)) == [one.created_at_s for one in known.values()]
    assert now.newest_s == max((one.created_at_s for one in known.values()), default=0)
    assert list(now.update_times(inodes)) == [one.updated_at_s for one in known.values()]
    assert now.total_size == sum(max(0, one.size) for one in known.values())
    assert list(zip(*now.named(), strict=True)) == [
        (one.name, one.inode) for one in now if one.name
    ]
    assert now.missing == {one.inode for one in now if one.missing}
    assert now.unsettled == {
        one.inode for one in now if one.size < 0 or one.missing or not one.verified
    }
    unsized = [one for one in now if one.size < 0]
    assert now.count() == (len(now) - len(unsized), sum(one.missing for one in unsized))


def test_a_damaged_number() -> None:
    """SQLite stores a text in a column of numbers."""
    with pytest.raises(DamagedRecord):
        AssetTable([row()._replace(created_at_s="long ago")])  # type: ignore[arg-type]


def test_a_packed_table_of_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is the same again."""
    monkeypatch.setattr(table, "_PART_ROWS", 2)
    rows = [row(code) for code in "ABCDE"]
    now = AssetTable.unpacked(AssetTable(rows).packed())
    assert list(now) == rows
    assert now.inode("E") == rows[4].inode


def test_a_packed_table_of_which_parts_are_missing() -> None:
    """Is refused."""
    parts = list(AssetTable([row("A"), row("B")]).packed())
    assert list(AssetTable.unpacked(iter(parts)))
    for count in range(2, len(parts)):
        with pytest.raises(DamagedRecord):
            AssetTable.unpacked(iter(parts[:count]))


def test_two_new_assets_with_one_inode_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are found, also if they come by a table that has moved one of them already."""
    monkeypatch.setattr(table, "inode_of", lambda _code: 7)
    new = AssetTable([row("A")._replace(inode=7), row("B")._replace(inode=7)])
    now = AssetTable().updated(new)
    assert [now.inode("A"), now.inode("B")] == [7, 8]
    assert now.get("B") == row("B")._replace(inode=8)
