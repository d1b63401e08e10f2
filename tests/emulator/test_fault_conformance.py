# SPDX-License-Identifier: Apache-2.0
"""Each fault over real sockets: what a client sees, and what the log says of it."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from typing import Any

import pytest

from backlotfs.emulator import Emulator, Fault
from tests.emulator.conftest import CLIP, CLIP_SIZE, EMPTY
from tests.emulator.probe import (
    call,
    connected,
    exchange,
    get,
    signed_target,
    target_of,
    true_bytes,
)

STREAMS = f"/v2/assets/{CLIP}/streams"
RANGE = "bytes=0-299999"


def raw_request(url: str) -> socket.socket:
    """A socket on which a ranged GET has been sent."""
    host, port = url.split("/")[2].split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    lines = [f"GET {target_of(url)} HTTP/1.1", "Host: x", f"Range: {RANGE}", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        (Fault.status(503), 503, "text/html", b""),
        (Fault.status(418, "tea", content_type="a/b", headers={"X-A": "1"}), 418, "a/b", b"tea"),
        (Fault.status(599, b"x"), 599, "text/html", b"x"),
        (Fault.of("html_500"), 500, "text/html", None),
        (Fault.of("empty_json"), 200, "application/json;charset=utf-8", b""),
        (Fault.of("slow_down"), 503, "application/xml", None),
        (Fault.of("access_denied"), 403, "application/xml", None),
        (Fault.redirect("http://other.test/"), 302, None, b""),
        (Fault.of("no_content"), 204, None, b""),
    ],
)
def test_other_answers(
    emulator: Emulator, fault: Fault, status: int, content_type: str | None, body: bytes | None
) -> None:
    """An answer instead of the real one, on either side; the next request is well again."""
    emulator.faults.add(fault, route="streams", times=1)
    emulator.faults.add(fault, route="source", times=1)
    for reply in (call(emulator, STREAMS), get(emulator.source_url(CLIP))):
        assert (reply.status, reply.headers["Content-Type"]) == (status, content_type)
        assert body is None or reply.body == body
    assert call(emulator, STREAMS).status == 200
    assert get(emulator.source_url(CLIP), Range="bytes=0-0").status == 206


def test_rate_limited(emulator: Emulator) -> None:
    """A 429 by script, with headers and seconds."""
    emulator.faults.add(Fault.rate_limited(7), route="streams", times=1)
    reply = call(emulator, STREAMS)
    assert reply.status == 429
    assert "after 7 seconds" in reply.json["message"]
    assert reply.headers["X-RateLimit-Credits"] == "299"


def test_object_message(emulator: Emulator) -> None:
    """``message`` need not be a string."""
    emulator.faults.add(Fault.of("object_message", status=403), times=1)
    reply = call(emulator, STREAMS)
    assert reply.status == 403
    assert isinstance(reply.json["message"], dict)


def test_damaged_json(emulator: Emulator) -> None:
    """Half a document; and a whole one with two bytes that are not UTF-8."""
    emulator.faults.add(Fault.of("truncated_json"), times=1)
    with pytest.raises(json.JSONDecodeError):
        _ = call(emulator, "/v2/assets").json
    emulator.faults.add(Fault.of("invalid_utf8"), times=1)
    body = call(emulator, "/v2/assets").body
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    assert len(json.loads(body.decode(errors="ignore"))["items"]) == 5


def test_streams_that_lie(emulator: Emulator) -> None:
    """Null URL, no source entry, nothing at all, a wrong size; ``source_file_info`` likewise."""

    def streams(fault: Fault) -> list[dict[str, Any]]:
        emulator.faults.add(fault, route="streams", times=1)
        entries: list[dict[str, Any]] = call(emulator, STREAMS).json
        return entries

    assert streams(Fault.of("null_url"))[0]["url"] is None
    assert [entry["is_source"] for entry in streams(Fault.of("no_source"))] == [False, False]
    assert streams(Fault.of("empty_streams")) == []
    assert streams(Fault.wrong_size(-5))[0]["file_size"] == CLIP_SIZE - 5
    for fault, field, value in [
        (Fault.of("null_url"), "source_file_url", None),
        (Fault.of("no_source"), "file_size", None),
        (Fault.wrong_size(1), "file_size", CLIP_SIZE + 1),
    ]:
        emulator.faults.add(fault, route="source_file_info", times=1)
        assert call(emulator, f"/v2/assets/{CLIP}/source_file_info").json[field] == value


def test_lying_ranges(emulator: Emulator) -> None:
    """Content-Range shifted, absent, everything for a part, and another length."""

    def ranged(fault: Fault) -> tuple[int, str | None, int]:
        emulator.faults.add(fault, route="source", times=1)
        reply = get(emulator.source_url(CLIP), Range="bytes=10-19")
        return reply.status, reply.headers["Content-Range"], len(reply.body)

    assert ranged(Fault.wrong_range(3)) == (206, f"bytes 13-22/{CLIP_SIZE}", 10)
    assert ranged(Fault.of("missing_range")) == (206, None, 10)
    assert ranged(Fault.of("whole_object")) == (200, None, CLIP_SIZE)
    assert ranged(Fault.other_length(-4)) == (206, f"bytes 10-15/{CLIP_SIZE}", 6)
    assert ranged(Fault.other_length(4)) == (206, f"bytes 10-23/{CLIP_SIZE}", 14)


@pytest.mark.parametrize("weak", [False, True])
def test_nodes(emulator: Emulator, weak: bool) -> None:
    """Each node names the same bytes by its own ETag, and refuses that of the other."""
    url = emulator.source_url(CLIP)
    emulator.faults.add(Fault.nodes(weak=weak), route="source")
    one, two = (get(url, Range="bytes=10-19") for _ in range(2))
    assert one.body == two.body == true_bytes(emulator, CLIP, 10, 20)
    assert one.headers["Last-Modified"] == two.headers["Last-Modified"]
    etag = str(one.headers["ETag"])
    assert two.headers["ETag"] == (f"W/{etag}" if weak else etag[:-1] + '-node1"')
    answers = [get(url, Range="bytes=0-9", If_Match=etag).status for _ in range(2)]
    assert answers == [206, 412]


def test_other_forms(emulator: Emulator) -> None:
    """The right bytes, honestly labelled, in a form that clients may not expect."""

    def ranged(fault: Fault, asset: str = CLIP) -> tuple[int, str | None, int]:
        emulator.faults.add(fault, route="source", times=1)
        reply = get(emulator.source_url(asset), Range="bytes=100-299")
        range_ = reply.headers["Content-Range"]
        if asset == CLIP:
            start = int((range_ or "bytes 100").split()[1].partition("-")[0])
            assert reply.body == true_bytes(emulator, CLIP, start, start + len(reply.body))
        return reply.status, range_, len(reply.body)

    assert ranged(Fault.short_range(50)) == (206, f"bytes 100-149/{CLIP_SIZE}", 50)
    assert ranged(Fault.short_range(500)) == (206, f"bytes 100-299/{CLIP_SIZE}", 200)
    wide = Fault.of("wide_range", step_bytes=64)
    assert ranged(wide) == (206, f"bytes 64-319/{CLIP_SIZE}", 256)
    assert ranged(Fault.of("unknown_total")) == (206, "bytes 100-299/*", 200)
    assert ranged(Fault.of("odd_range")) == (206, f"Bytes   0100 - 299 / 00{CLIP_SIZE} ", 200)
    assert ranged(Fault.of("no_length")) == (206, f"bytes 100-299/{CLIP_SIZE}", 200)
    assert ranged(Fault.of("empty_200"), EMPTY) == (200, None, 0)
    assert ranged(Fault.of("empty_206"), EMPTY) == (206, "bytes 0-0/0", 0)


def test_answers_before_the_answer(emulator: Emulator) -> None:
    """As many 103 as are asked for, on the same connection."""
    emulator.faults.add(Fault.of("early_hints", count=2), route="source", times=1)
    with (
        raw_request(emulator.source_url(CLIP)) as connection,
        connection.makefile("rb") as stream,
    ):
        heads = [list(iter(stream.readline, b"\r\n")) for _ in range(3)]
        assert [head[0].split()[1] for head in heads] == [b"103", b"103", b"206"]
        assert stream.read(300_000) == true_bytes(emulator, CLIP, 0, 300_000)


def test_words_for_an_encoding(emulator: Emulator) -> None:
    """The bytes are as they are."""
    emulator.faults.add(Fault.content_encoding("utf-8"), route="source", times=1)
    reply = get(emulator.source_url(CLIP), Range=RANGE)
    assert reply.headers["Content-Encoding"] == "utf-8"
    assert reply.body == true_bytes(emulator, CLIP, 0, 300_000)


def test_gzip(emulator: Emulator) -> None:
    """A body nobody asked to have compressed, on either side."""
    emulator.faults.add(Fault.of("gzip"), times=2)
    reply = get(emulator.source_url(CLIP), Range=RANGE)
    assert reply.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(reply.body) == true_bytes(emulator, CLIP, 0, 300_000)
    assert json.loads(gzip.decompress(call(emulator, "/v2/labels").body))["items"]


@pytest.mark.parametrize("at_byte", [0, 5, 270_000])
def test_reset(emulator: Emulator, at_byte: int) -> None:
    """RST in the body: an error for the client, not an end of file."""
    emulator.faults.add(Fault.reset(at_byte), route="source", times=1)
    with pytest.raises(ConnectionResetError):
        get(emulator.source_url(CLIP), Range=RANGE)
    (entry,) = emulator.requests.entries(route="source")
    assert (entry.status, entry.fault, entry.bytes_sent) == (206, "reset", at_byte)


def test_reset_before_any_header(emulator: Emulator) -> None:
    """The connection dies unanswered; the log has no status."""
    emulator.faults.add(Fault.reset(-1), route="source", times=1)
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        get(emulator.source_url(CLIP), Range=RANGE)
    emulator.requests.wait_for(lambda log: log.entries()[-1].ended)
    assert emulator.requests.entries(route="source")[0].status is None


@pytest.mark.parametrize("at_byte", [0, 270_000])
def test_short_body(emulator: Emulator, at_byte: int) -> None:
    """Announced in full, closed early."""
    emulator.faults.add(Fault.short_body(at_byte), route="source", times=1)
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(emulator.source_url(CLIP), Range=RANGE)
    assert caught.value.partial == true_bytes(emulator, CLIP, 0, at_byte)
    assert caught.value.expected == 300_000 - at_byte


def test_long_body(emulator: Emulator) -> None:
    """What follows the announced length lands in the next answer."""
    emulator.faults.add(Fault.long_body(16), route="source", times=1)
    url = emulator.source_url(CLIP)
    expected = true_bytes(emulator, CLIP, 0, 300_000) + bytes(16)
    with raw_request(url) as connection, connection.makefile("rb") as stream:
        headers = iter(stream.readline, b"\r\n")
        assert b"Content-Length: 300000\r\n" in list(headers)
        assert stream.read(len(expected)) == expected


def test_stall_and_release(emulator: Emulator) -> None:
    """Bytes up to the stall arrive; the log shows the request; a release brings the rest."""
    rule = emulator.faults.add(Fault.stall(1000), route="source", times=1)
    url = emulator.source_url(CLIP)
    with connected(url) as connection:
        connection.request("GET", target_of(url), headers={"Range": RANGE})
        response = connection.getresponse()
        begun = response.read(1000)
        emulator.requests.wait_for(lambda log: log.entries()[0].bytes_sent == 1000)
        (entry,) = emulator.requests.entries(route="source")
        assert (entry.status, entry.bytes_sent, entry.ended) == (206, 1000, False)
        assert rule.hits == 1
        rule.release()
        assert begun + response.read() == true_bytes(emulator, CLIP, 0, 300_000)
    emulator.requests.wait_for(lambda log: log.entries()[-1].ended)


def test_a_body_that_ends_before_the_stall_is_whole(emulator: Emulator) -> None:
    """And its connection is as good as any for the next request."""
    emulator.faults.add(Fault.stall(1000), route="source")
    url = emulator.source_url(CLIP)
    with connected(url) as connection:
        for _ in range(2):
            connection.request("GET", target_of(url), headers={"Range": "bytes=0-999"})
            assert connection.getresponse().read() == true_bytes(emulator, CLIP, 0, 1000)


def test_stall_for_some_time(emulator: Emulator) -> None:
    """With a number of seconds it goes on by itself, on the API side too."""
    emulator.faults.add(Fault.stall(0, seconds=0.01), route="streams", times=1)
    assert len(call(emulator, STREAMS).json) == 3


def test_stalled_client_that_hangs_up(emulator: Emulator) -> None:
    """The request ends when the client does; nothing waits for ever."""
    emulator.faults.add(Fault.stall(10), route="source")
    url = emulator.source_url(CLIP)
    with connected(url) as connection:
        connection.request("GET", target_of(url), headers={"Range": RANGE})
        response = connection.getresponse()
        response.read(10)
        response.close()
    emulator.requests.wait_for(lambda log: log.entries()[-1].ended)


def test_delay_is_released_too(emulator: Emulator) -> None:
    """A delayed request is in the log without a status, and goes on when released."""
    rule = emulator.faults.add(Fault.delay(600), route="streams")
    target = signed_target(emulator, STREAMS)
    replies: list[int] = []
    thread = threading.Thread(
        target=lambda: replies.append(exchange(emulator.api_url, target).status)
    )
    thread.start()
    emulator.requests.wait_for(lambda log: log.count(route="streams") == 1)
    assert emulator.requests.entries()[0].status is None
    rule.release()
    thread.join()
    assert replies == [200]


def test_trickle(emulator: Emulator) -> None:
    """A slow body takes its time and arrives whole."""
    emulator.faults.add(Fault.trickle(1_000_000), route="source", times=1)
    began = time.monotonic()
    reply = get(emulator.source_url(CLIP), Range="bytes=0-199999")
    assert reply.body == true_bytes(emulator, CLIP, 0, 200_000)
    assert time.monotonic() - began >= 0.19


def test_other_assets_are_spared(emulator: Emulator) -> None:
    """A stalled asset does not hold up another request."""
    emulator.faults.add(Fault.stall(), route="source", embed_code=CLIP)
    url = emulator.source_url(CLIP)
    stalled = [raw_request(url) for _ in range(16)]
    emulator.requests.wait_for(lambda log: log.count(route="source", status=206) == 16)
    assert call(emulator, "/v2/labels").status == 200
    for connection in stalled:
        connection.close()
