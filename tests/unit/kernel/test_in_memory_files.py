"""Open files whose bytes are in memory."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import BadHandle, RemoteUnavailable
from backlotfs.kernel.in_memory_files import InMemoryFiles
from tests.unit.kernel.test_operations import Adapter, Below, Info


@given(content=st.binary(max_size=300), offset=st.integers(0, 400), size=st.integers(0, 400))
def test_both_ways_of_reading_agree(content: bytes, offset: int, size: int) -> None:
    """With a slice of the bytes; at the end, and of an empty file, nothing."""
    documents = InMemoryFiles()
    fh = documents.open("/a.json", content)
    demand = documents.begin(fh, offset, size)
    seen = b"" if demand is None else b"".join(demand.views())
    assert seen == documents.read(fh, offset, size) == content[offset : offset + size]
    assert demand is None or (demand.complete and not demand.missed and not demand.first_use_bytes)


def test_each_open_keeps_its_bytes() -> None:
    """Whatever is opened or closed beside it."""
    documents = InMemoryFiles()
    old, new = documents.open("/a.json", b"old"), documents.open("/a.json", b"new")
    documents.release(new)
    assert documents.read(old, 0, 9) == b"old"
    for use in (lambda: documents.read(new, 0, 1), lambda: documents.begin(new, 0, 1)):
        with pytest.raises(BadHandle):
            use()
    with pytest.raises(BadHandle):
        documents.release(new)


def test_handles_of_sources_are_others() -> None:
    """They are counted from 1."""
    documents = InMemoryFiles()
    assert documents.open("/a.json", b"") in documents
    assert 1 not in documents
    assert 2**40 not in documents


def test_a_file_without_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is read past the page cache, from bytes that its handle keeps; the reader knows no such."""
    adapter = Adapter()
    asked: list[int] = []
    monkeypatch.setattr(Below, "begin", lambda _self, fh, *_of: asked.append(fh), raising=False)
    info = Info(keep_cache=0)
    assert adapter.operations("open", "/a.mov.json", info) == 0
    assert (info.keep_cache, info.direct_io) == (0, 1)
    assert adapter.operations("read", None, 4, 1, info) == b"}{}{"
    demand = adapter.operations.begin(info.fh, 90, 4096)
    assert demand is not None
    assert b"".join(demand.views()) == b"{}" * 5
    assert adapter.operations.begin(info.fh, 100, 10) is None
    adapter.below.error = RemoteUnavailable("only sources come from somewhere")
    assert adapter.operations("flush", None, info) == 0
    assert adapter.operations("release", None, info) == 0
    assert adapter.below.released == []
    assert adapter.refused("read", None, 4, 0, info) == errno.EBADF
    assert asked == []
    adapter.operations.begin(42, 0, 1)
    assert asked == [42]
