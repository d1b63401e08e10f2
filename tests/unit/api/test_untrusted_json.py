# SPDX-License-Identifier: Apache-2.0
"""JSON read record by record: the same values as the standard library's, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.api import records, untrusted_json
from backlotfs.api.untrusted_json import TOO_LARGE, MalformedJson, read_document, read_page
from backlotfs.errors import ProtocolViolation
from tests.support.long_runs import few_of, runs

MIB = 1024 * 1024
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


def items_of(body: bytes) -> list[object]:
    """What the records of a page are."""
    found: list[object] = []
    read_page(body, found.append)
    return found


@settings(max_examples=runs(200), deadline=None)
@given(st.lists(_JSON, max_size=8), _JSON, st.integers(1, 40), st.sampled_from([None, 1]))
def test_as_the_standard_library(
    items: list[object], other: object, chunk: int, indent: int | None
) -> None:
    """Wherever the pieces of the body end, and whatever stands beside the records."""
    document = {"first": other, "items": items, "next_page": other, "last": other}
    for ascii_only in (True, False):
        body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode(
            "utf-8", "surrogatepass"
        )
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(untrusted_json, "_CHUNK_BYTES", chunk)
            found: list[object] = []
            fields = read_page(body, found.append)
            expected = json.loads(body.decode("utf-8", "replace"))
            assert found == expected["items"]
            assert fields == {"items": [], "next_page": expected["next_page"]}
            assert read_document(body) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b'{"items":[', b'{"items":[1,', b'{"items":[1 2]}', b'{"items":[1]}x', b"{,}",
     b'{"items" 1}', b'{"items":[{"a" 1}]}', b"<html>", b"nothing", b'{"items":["', b'{1:2}'],
)  # fmt: skip
def test_what_is_no_json(body: bytes) -> None:
    """Is said to be none, wherever it goes wrong."""
    with pytest.raises(MalformedJson):
        items_of(body)


def test_a_large_record_is_passed_over() -> None:
    """The records beside it are there; brackets and quotes within its texts do not count."""
    large = {"embed_code": "B", "name": '["\\' * (MIB // 4), "labels": [[{}]]}
    body = json.dumps({"items": [{"embed_code": "A"}, large, {"embed_code": "C"}]}).encode()
    assert items_of(body) == [{"embed_code": "A"}, TOO_LARGE, {"embed_code": "C"}]
    page = records.parse_asset_page(body)
    assert [asset.embed_code for asset in page.items] == ["A", "C"]
    assert "more than 1 MiB" in page.skipped[0]


def test_bad_records_are_named_up_to_ten_and_counted() -> None:
    """A page of nonsense does not become as many messages."""
    page = records.parse_asset_page(json.dumps({"items": [1] * 5000}).encode())
    assert (len(page.skipped), page.skipped_more) == (10, 4990)


def test_long_texts_are_cut_and_many_labels_are_none() -> None:
    """What decorates an asset cannot fill the catalog."""
    record = {
        "embed_code": "A",
        "name": "x" * 500_000,
        "metadata": {f"k{n}": "v" for n in range(5000)},
        "labels": [{"id": "l"}] * 5000,
    }
    (asset,) = records.parse_asset_page(json.dumps({"items": [record]}).encode()).items
    assert (len(asset.title), len(asset.metadata), asset.labels) == (32_768, 1000, None)


def test_numbers_of_any_length() -> None:
    """Cost one record, not the page."""
    body = b'{"items":[{"embed_code":"A","duration":%b},{"embed_code":"B","name":%b},7]}'
    page = records.parse_asset_page(body % (b"9" * 5000, b"9" * 5000))
    assert [(a.embed_code, a.duration_ms) for a in page.items] == [("A", 0)]
    assert len(page.skipped) == 2


def test_too_many_records() -> None:
    """Are no page that was asked for."""
    with pytest.raises(ProtocolViolation, match="more than 100000 records"):
        items_of(b'{"items":[' + b"1," * 100_000 + b"1]}")


def _items(piece: bytes, size: int) -> bytes:
    return b'{"items":[' + piece * (size // len(piece)) + b"null]}"


def _inside(opening: bytes, piece: bytes, closing: bytes, size: int) -> bytes:
    record = b'{"embed_code":"A","metadata":' + opening + piece * (size // len(piece)) + closing
    return b'{"items":[' + record + b"}]}"


#: Each makes a body of so many bytes, all of which a page may have.
BOMBS: dict[str, Callable[[int], bytes]] = {
    "numbers": lambda size: _items(b"1000,", size),
    "digits": lambda size: _items(b"1,", size),
    "strings": lambda size: _items(b'"ab",', size),
    "nulls": lambda size: _items(b"null,", size),
    "arrays": lambda size: _items(b"[],", size),
    "objects": lambda size: _items(b"{},", size),
    "records": lambda size: _items(b'{"embed_code":"a"},', size),
    "numbers in a record": lambda size: _inside(b"[", b"1000,", b"1]", size),
    "arrays in a record": lambda size: _inside(b"[", b"[],", b"1]", size),
    "objects in a record": lambda size: _inside(b"[", b'{"":0},', b"1]", size),
    "duplicate keys": lambda size: _inside(b"{", b'"a":[],', b'"a":1}', size),
    "many keys": lambda size: (
        b'{"items":[{' + b",".join(b'"%x":[]' % n for n in range(size // 12)) + b"}]}"
    ),
    "page keys": lambda size: b"{" + b",".join(b'"%x":1' % n for n in range(size // 10)) + b"}",
    "a long key": lambda size: b'{"items":[{"' + b"k" * size + b'":1}]}',
    "a long text": lambda size: b'{"items":[{"embed_code":"A","name":"' + b"x" * size + b'"}]}',
    "a wide text": lambda size: (
        '{"items":[{"embed_code":"A","name":"\U0001f3ac'.encode() + b"x" * size + b'"}]}'
    ),
    "escapes": lambda size: b'{"items":["' + b"\\n" * (size // 2) + b'"]}',
    "blanks": lambda size: b'{"items":[' + b" " * size + b"]}",
    "nested arrays": lambda size: b'{"items":[' + b"[" * (size // 2) + b"]" * (size // 2) + b"]}",
    "nested objects": lambda size: b'{"a":' * (size // 5) + b"1" + b"}" * (size // 5),
    "a long number": lambda size: b'{"items":[' + b"9" * size + b"]}",
    "next_page": lambda size: b'{"items":[],"next_page":"' + b"x" * size + b'"}',
    "not JSON": lambda size: b"x" * size,
    "labels": lambda size: (
        b'{"items":[{"embed_code":"A","labels":[' + b'{"id":"a"},' * (size // 11) + b"1]}]}"
    ),
}
BODY_BYTES = 31 * MIB
#: Beside the body itself, which is in memory once: what reading it may take.
ROOM_BYTES = 64 * MIB
_CHILD = """
import resource, sys
sys.path.insert(0, "")
from backlotfs.api import records
from backlotfs.api.untrusted_json import MalformedJson, read_document
from backlotfs.errors import ProtocolViolation
body = sys.stdin.buffer.read(int(sys.argv[2]))
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[1]),) * 2)
for parse in (records.parse_asset_page, records.parse_deleted_page, records.parse_labels,
              lambda body: records.parse_streams(read_document(body))):
    try:
        repr(parse(body).next_page)
    except (ProtocolViolation, MalformedJson) as error:
        assert len(str(error)) < 300
    except AttributeError:
        pass
"""


@pytest.mark.parametrize("name", few_of(BOMBS, "numbers", "strings"))
def test_memory_is_bounded(name: str) -> None:
    """A child that may have only so much more memory reads it to a page or to an error of ours."""
    body = BOMBS[name](BODY_BYTES)
    assert len(body) > BODY_BYTES // 2
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(ROOM_BYTES), str(len(body))],
        input=body,
        capture_output=True,
        check=False,
        timeout=100,
        cwd=Path(__file__).parents[3],
    )
    assert child.returncode == 0, child.stderr.decode()[-2000:]


def test_the_bombs_are_small_on_the_line() -> None:
    """What makes them bombs: kilobytes of gzip."""
    assert len(gzip.compress(BOMBS["digits"](20 * MIB))) < 30_000
