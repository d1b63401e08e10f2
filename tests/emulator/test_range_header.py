"""``Range`` headers as S3 reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.emulator.sources import RangeNotSatisfiable, range_start, requested_span


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
    ],
)
def test_spans(header: str | None, expected: tuple[int, int] | None) -> None:
    """Clamped ends; malformed and several ranges mean the whole object."""
    assert expected == requested_span(header, 10)


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=0-0", 0), ("bytes=-5", 0), ("bytes=-0", 10)],
)
def test_not_satisfiable(header: str, size: int) -> None:
    """A start at or past the end, and any range of an empty object, is a 416."""
    with pytest.raises(RangeNotSatisfiable):
        requested_span(header, size)


@given(size=st.integers(1, 50), start=st.integers(0, 49), length=st.integers(1, 60))
def test_equals_a_slice(size: int, start: int, length: int) -> None:
    """A satisfiable range names the bytes that Python's slice would."""
    data = bytes(range(size))
    header = f"bytes={start}-{start + length - 1}"
    if start >= size:
        with pytest.raises(RangeNotSatisfiable):
            requested_span(header, size)
    else:
        span = requested_span(header, size)
        assert span is not None
        assert data[span[0] : span[1]] == data[start : start + length]


def test_range_start() -> None:
    """What a fault rule can know of a range before the object is looked at."""
    assert range_start("bytes=7-") == 7
    assert range_start("bytes=-7") is None
    assert range_start(None) is None
