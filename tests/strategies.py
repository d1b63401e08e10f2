# SPDX-License-Identifier: Apache-2.0
"""What the property tests draw from."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from backlotfs.api.records import Asset
from backlotfs.byterange import ByteRange


@st.composite
def byte_ranges(draw: st.DrawFn, limit: int = 1 << 62) -> ByteRange:
    """Not empty, inside ``limit`` bytes."""
    start = draw(st.integers(0, limit - 1))
    return ByteRange(start, draw(st.integers(start + 1, limit)))


class FileCase(NamedTuple):
    """A file, how it is cut into blocks, and how much of it may be kept."""

    size: int
    block_bytes: int
    budget_bytes: int


@st.composite
def file_cases(draw: st.DrawFn) -> FileCase:
    """Files of up to 40 blocks; budgets from nothing to more than the file."""
    block_bytes = draw(st.integers(1, 64))
    size = draw(st.integers(1, 40 * block_bytes))
    budget = draw(st.one_of(st.just(0), st.integers(0, 50 * block_bytes)))
    return FileCase(size, block_bytes, budget)


def reads(size: int) -> st.SearchStrategy[ByteRange]:
    """Reads as a kernel sends them: they begin anywhere and may reach past the end."""
    return st.builds(
        lambda start, length: ByteRange(start, start + length),
        st.integers(0, size + 5),
        st.integers(0, size + 5),
    )


#: Text as servers have sent it: control characters, path separators, surrogates, long, composed.
hostile_text = st.one_of(
    st.sampled_from(
        [
            "", ".", "..", "/", "\\", "a/b.mov", "C:\\dir\\clip.mov", "\\\\server\\share\\x.mov",
            "/Users/a/x.mov", "e\u0301.mov", "x" * 300 + ".mov", "é" * 200, ".hidden", " ",
            "." + " " * 300, ".." + "\u3000" * 120, "x" * 251 + ".mov", "\udcff.mov", "a\0b\n.mov",
        ]
    ),
    st.text(max_size=20),
    st.text(alphabet=st.sampled_from("ab. /\\\u0301\ud800é\u0000_[]"), max_size=12),
    st.builds(lambda part, times: part * times, st.text(max_size=3), st.integers(0, 150)),
)  # fmt: skip


@st.composite
def libraries(draw: st.DrawFn, max_size: int = 12) -> list[Asset]:
    """Assets with different embed codes, and names that often collide."""
    codes = draw(
        st.lists(
            st.text(alphabet="abAB-_01", min_size=1, max_size=4), max_size=max_size, unique=True
        )
    )
    names = st.one_of(st.sampled_from(["a.mov", "b.mov", "a [b].mov", "a [b]_.mov"]), hostile_text)
    return [
        Asset(
            code,
            draw(hostile_text),
            draw(st.one_of(st.none(), names)),
            "video",
            "live",
            draw(st.integers(0, 3)),
            0,
            0,
        )
        for code in codes
    ]
