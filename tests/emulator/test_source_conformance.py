# SPDX-License-Identifier: Apache-2.0
"""The source side over real sockets: every row of the reference's table of answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator, EmulatorSettings, Library
from tests.emulator.conftest import CLIP, CLIP_SIZE, EMPTY, HUGE
from tests.emulator.probe import connected, error_elements, get, source_entry, target_of, true_bytes


def test_whole_object(emulator: Emulator) -> None:
    """200 with length, strong validator, date, ids; no name of the file anywhere."""
    reply = get(emulator.source_url(CLIP))
    assert reply.status == 200
    assert reply.body == true_bytes(emulator, CLIP, 0, CLIP_SIZE)
    assert reply.headers["Content-Length"] == str(CLIP_SIZE)
    assert re.fullmatch('"[0-9a-f]{32}(-1)?"', reply.headers["ETag"])
    assert reply.headers["Last-Modified"] == "Tue, 01 Jan 2013 00:00:00 GMT"
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert {"x-amz-request-id", "x-amz-id-2"} <= {name.lower() for name in reply.headers}
    assert reply.headers["Content-Disposition"] is None
    assert reply.headers["Date"] == "Fri, 14 Jul 2017 02:40:00 GMT"


def test_url_from_the_api(emulator: Emulator) -> None:
    """The URL of ``/streams``, byte for byte, is good for ranged GETs."""
    reply = get(source_entry(emulator, CLIP)["url"], Range="bytes=5-104")
    assert reply.status == 206
    assert reply.headers["Content-Range"] == f"bytes 5-104/{CLIP_SIZE}"
    assert reply.body == true_bytes(emulator, CLIP, 5, 105)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=700000-", 700_000, CLIP_SIZE),
        ("bytes=699999-999999", 699_999, CLIP_SIZE),
        ("bytes=-7", CLIP_SIZE - 7, CLIP_SIZE),
        ("bytes=0-524287", 0, 524_288),
    ],
)
def test_ranges(emulator: Emulator, header: str, start: int, stop: int) -> None:
    """206, ends clamped, the very bytes."""
    reply = get(emulator.source_url(CLIP), Range=header)
    assert reply.status == 206
    assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{CLIP_SIZE}"
    assert reply.body == true_bytes(emulator, CLIP, start, stop)


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=5-2", "lines=1-2", "bytes=x-"])
def test_ignored_ranges(emulator: Emulator, header: str) -> None:
    """Malformed and several ranges: 200 and everything."""
    reply = get(emulator.source_url(CLIP), Range=header)
    assert (reply.status, len(reply.body)) == (200, CLIP_SIZE)
    assert reply.headers["Content-Range"] is None


@pytest.mark.parametrize(("code", "header"), [(CLIP, "bytes=700001-"), (EMPTY, "bytes=0-0")])
def test_unsatisfiable(emulator: Emulator, code: str, header: str) -> None:
    """416 ``InvalidRange`` with the range and the true size; no Content-Range by default."""
    reply = get(emulator.source_url(code), Range=header)
    assert reply.status == 416
    found = error_elements(reply)
    size = CLIP_SIZE if code == CLIP else 0
    assert found["Code"] == "InvalidRange"
    assert (found["RangeRequested"], found["ActualObjectSize"]) == (header, str(size))
    assert reply.headers["Content-Range"] is None


def test_unsatisfiable_with_content_range(library: Library) -> None:
    """A switch adds the header that others send."""
    with Emulator(library, EmulatorSettings(range_error_content_range=True)) as emulator:
        reply = get(emulator.source_url(CLIP), Range="bytes=900000-")
        assert reply.headers["Content-Range"] == f"bytes */{CLIP_SIZE}"


def test_empty_object(emulator: Emulator) -> None:
    """200 with nothing in it."""
    reply = get(emulator.source_url(EMPTY))
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", "0")


def test_far_into_a_huge_object(emulator: Emulator) -> None:
    """Offsets beyond 4 GiB."""
    start = 99 * 2**30 + 17
    reply = get(emulator.source_url(HUGE), Range=f"bytes={start}-{start + 999_999}")
    assert reply.headers["Content-Range"] == f"bytes {start}-{start + 999_999}/{100 * 2**30}"
    assert reply.body == true_bytes(emulator, HUGE, start, start + 1_000_000)


def test_preconditions(emulator: Emulator) -> None:
    """An old ETag is 412; the present one, a list that has it, and ``*`` are fine."""
    url = emulator.source_url(CLIP)
    etag = get(url, Range="bytes=0-0").headers["ETag"]
    old = get(url, Range="bytes=0-0", If_Match='"other"')
    assert (old.status, error_elements(old)["Code"]) == (412, "PreconditionFailed")
    for good in (etag, f'"other", {etag}', "*"):
        assert get(url, Range="bytes=0-0", If_Match=good).status == 206
    assert get(url, If_None_Match=etag).status == 304
    assert get(url, Range="bytes=0-0", If_Range=etag).status == 206
    assert get(url, Range="bytes=0-0", If_Range='"other"').status == 200
    early, late = "Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2028 00:00:00 GMT"
    assert get(url, If_Unmodified_Since=early).status == 412
    assert get(url, Range="bytes=0-0", If_Unmodified_Since=late).status == 206
    assert get(url, Range="bytes=0-0", If_Unmodified_Since="lately").status == 206


def test_object_gone(emulator: Emulator) -> None:
    """404 ``NoSuchKey`` after a deletion, and for the key a replacement left behind."""
    url = emulator.source_url(CLIP)
    emulator.library.replace(CLIP, size=5)
    assert error_elements(get(url))["Code"] == "NoSuchKey"
    url = emulator.source_url(CLIP)
    emulator.library.delete(CLIP)
    reply = get(url)
    assert (reply.status, error_elements(reply)["Code"]) == (404, "NoSuchKey")


def test_equal_size_replacement_keeps_the_url(emulator: Emulator) -> None:
    """The same URL then gives the new bytes under another ETag."""
    url = emulator.source_url(CLIP)
    before = get(url, Range="bytes=0-9")
    emulator.library.replace(CLIP, size=CLIP_SIZE)
    after = get(url, Range="bytes=0-9")
    assert after.status == 206
    assert after.body != before.body
    assert after.headers["ETag"] != before.headers["ETag"]
    assert get(url, If_Match=before.headers["ETag"]).status == 412


def test_a_large_file(tmp_path: Path) -> None:
    """A large file: whole, small ranges and large ones, on one kept-alive connection."""
    data = bytes(range(256)) * 40_000
    (tmp_path / "a.mov").write_bytes(data)
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        (asset,) = emulator.library.ordered()
        url = emulator.source_url(asset.embed_code)
        with connected(url) as connection:
            for start, stop in [(0, 10), (0, len(data)), (7, 4_000_007), (9_999_990, len(data))]:
                header = {"Range": f"bytes={start}-{stop - 1}"}
                connection.request("GET", target_of(url), headers=header)
                response = connection.getresponse()
                assert response.status == 206
                assert response.read() == data[start:stop]
        entries = emulator.requests.entries(route="source")
        assert len({entry.connection_id for entry in entries}) == 1


def test_deleted_file(tmp_path: Path) -> None:
    """A file removed from the folder is an object that is gone."""
    (tmp_path / "a.mov").write_bytes(b"x")
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        url = emulator.source_url(emulator.library.ordered()[0].embed_code)
        (tmp_path / "a.mov").unlink()
        assert error_elements(get(url))["Code"] == "NoSuchKey"


def test_size_may_differ_from_the_truth(emulator: Emulator) -> None:
    """The API's ``file_size`` can be wrong; ``Content-Range`` is not."""
    emulator.library.edit(CLIP, reported_size=5)
    entry = source_entry(emulator, CLIP)
    assert entry["file_size"] == 5
    total = get(entry["url"], Range="bytes=0-0").headers["Content-Range"]
    assert total == f"bytes 0-0/{CLIP_SIZE}"
