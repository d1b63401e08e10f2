# SPDX-License-Identifier: Apache-2.0
"""A body unpacks to what was packed, or is refused, and never takes more room than was given."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.transport import BodyTooLarge, BoundedBody, UnknownEncoding


def unpacked(pieces: list[bytes], encoding: str | None, limit: int) -> bytes:
    """All pieces through one body."""
    body = BoundedBody(encoding, limit)
    for piece in pieces:
        body.feed(piece)
        assert len(body._body) <= limit + 1
    return body.whole()


@given(st.binary(max_size=300), st.integers(1, 50), st.integers(0, 300), st.booleans())
def test_whole_or_too_large(data: bytes, step: int, limit: int, packed: bool) -> None:
    """In whatever pieces it comes."""
    sent = gzip.compress(data) if packed else data
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    encoding = "gzip" if packed else None
    if len(data) <= limit:
        assert unpacked(pieces, encoding, limit) == data
    else:
        with pytest.raises(BodyTooLarge):
            unpacked(pieces, encoding, limit)


def test_a_bomb_is_not_unpacked() -> None:
    """A hundred megabytes of zeros: what is held stays below the limit and a byte."""
    bomb = gzip.compress(bytes(100_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge):
        unpacked([bomb], "gzip", 10_000)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate", "zstd", "gzip;q=1", "x"])
def test_other_encodings(encoding: str) -> None:
    """Only what was asked for; a bomb in a bomb is two encodings."""
    with pytest.raises(UnknownEncoding):
        BoundedBody(encoding, 10)


@pytest.mark.parametrize("encoding", ["GZIP", " x-gzip ", "gzip"])
def test_spellings_of_gzip(encoding: str) -> None:
    """As servers write it."""
    assert unpacked([gzip.compress(b"abc")], encoding, 10) == b"abc"


@pytest.mark.parametrize("encoding", [None, "", "identity", "UTF-8", "none", "binary"])
def test_no_encoding(encoding: str | None) -> None:
    """As it is."""
    assert unpacked([b"a", b"bc"], encoding, 3) == b"abc"


@given(st.binary(max_size=200))
def test_damaged(data: bytes) -> None:
    """Either whole by chance, or an error that the transport knows."""
    try:
        unpacked([data], "gzip", 1000)
    except (zlib.error, BodyTooLarge):
        return
    assert not data or gzip.decompress(data) is not None


def test_cut_off() -> None:
    """Half of the compressed bytes are not half of the answer; none at all are none."""
    with pytest.raises(zlib.error):
        unpacked([gzip.compress(b"abcdef")[:-9]], "gzip", 100)
    assert unpacked([], "gzip", 100) == b""


def test_what_follows_the_end_of_the_compressed_data_is_not_kept() -> None:
    """However much of it a host sends."""
    body = BoundedBody("gzip", 100)
    body.feed(gzip.compress(b"whole"))
    piece = bytes(64 * 1024)
    tracemalloc.start()
    try:
        for _ in range(64):
            body.feed(piece)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body.whole() == b"whole"
    assert peak_bytes < len(piece)
