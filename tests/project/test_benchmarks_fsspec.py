# SPDX-License-Identifier: Apache-2.0
"""What `make bench-fsspec` reads, and its files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fsspec_ranges import (
    LARGE_PARTS,
    MANY_PARTS,
    PART_BYTES,
    PARTS,
    Part,
    cases,
    write_parts,
)


def test_each_case_reads_so_many_different_parts() -> None:
    """No part is read twice, and each is inside its file."""
    for title, (first, then) in cases().items():
        assert len(first) == len(then) == PARTS, title
        parts = {*first, *then}
        assert len(parts) == 2 * PARTS, title
        most = {"large.bin": LARGE_PARTS}
        assert all(0 <= part.number < most.get(part.name, MANY_PARTS) for part in parts), title


def test_a_file_has_the_parts_that_are_expected(tmp_path: Path) -> None:
    """Each part is where it should be, and no two are alike."""
    path = tmp_path / "large.bin"
    write_parts(path, 3)
    parts = [Part(path.name, number) for number in range(3)]
    data = path.read_bytes()
    assert len(data) == 3 * PART_BYTES
    assert [data[part.start :][:PART_BYTES] for part in parts] == [part.content for part in parts]
    assert len({part.content for part in parts}) == 3
