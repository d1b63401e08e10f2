# SPDX-License-Identifier: Apache-2.0
"""Each form in which a host may answer a range, over real HTTP, with our decision for it.

The forms are those of RFC 9110 and 9112, and of what servers send, browsers show, and curl and
rclone accept. A form is taken where place, length and version of its bytes are certain, and else
refused: then no byte is delivered.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    InvalidRangeResponse,
    RangesUnsupported,
    RemoteUnavailable,
)
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from backlotfs.http.range_checks import MAX_SKIP_BYTES
from backlotfs.source.range_reader import HostsWithoutRanges, RangeReader, SourceProbe
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.source_host import Meter, NumberedResolver
from tests.unit.http.raw_server import RawServer, Reply

SIZE = 9000
#: Also what a head ends with, which is part of the bytes.
DATA = random.Random(13).randbytes(SIZE - 4).replace(b"\n", b" ")
DATA = DATA[:300] + b"\r\n\r\n" + DATA[300:]
ETAG, DATE = '"v1"', "Tue, 01 Mar 2016 21:49:25 GMT"
LATER = "Tue, 01 Mar 2016 22:49:25 GMT"
V1 = SourceVersion("E1", SIZE, ETAG, DATE)
WANTED = ByteRange(100, 700)
ATTEMPTS = 2

Respond = Callable[[int, int], bytes]


def reply(
    first_line: str = "206 Partial Content", body: bytes = b"", **headers: str | None
) -> bytes:
    """An answer; ``_`` in the name of a header stands for ``-``, None leaves it out."""
    found: dict[str, str | None] = {
        "Content_Length": str(len(body)),
        "ETag": ETAG,
        "Last_Modified": DATE,
    }
    lines = [f"HTTP/1.1 {first_line}"]
    for name, value in (found | headers).items():
        if value is not None:
            lines.append(f"{name.replace('_', '-')}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def part(start: int, stop: int, **more: str | None) -> bytes:
    """A 206 of these bytes, as RFC 9110 shows it."""
    place = f"bytes {start}-{stop - 1}/{SIZE}"
    return reply("206 Partial Content", DATA[start:stop], **({"Content_Range": place} | more))


def labelled(form: str) -> Respond:
    """A 206 of the wanted bytes whose Content-Range is written in this form."""
    return lambda start, stop: part(
        start, stop, Content_Range=form.format(first=start, last=stop - 1, size=SIZE)
    )


def encoded(word: str) -> Respond:
    """A 206 of the wanted bytes with a word for their encoding."""
    return lambda start, stop: part(start, stop, Content_Encoding=word)


def chunked(body: bytes) -> bytes:
    """In two chunks, one with an extension, and a trailer."""
    half = len(body) // 2
    pieces = b"".join(
        b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in (body[:half], body[half:]) if piece
    )
    return pieces + b"0\r\nX-Trailer: x\r\n\r\n"


def in_chunks(start: int, stop: int, **more: str | None) -> bytes:
    """A chunked 206."""
    head: dict[str, str | None] = {"Content_Length": None, "Transfer_Encoding": "chunked"}
    head |= more
    return part(start, stop, **head).removesuffix(DATA[start:stop]) + chunked(DATA[start:stop])


def whole(**more: str | None) -> Respond:
    """A 200 with all of it."""
    return lambda _start, _stop: reply("200 OK", DATA, **more)


def all_in_chunks(data: bytes = DATA, **more: str | None) -> Respond:
    """A chunked 200 with all of it."""
    head: dict[str, str | None] = {"Content_Length": None, "Transfer_Encoding": "chunked"}
    return lambda _start, _stop: reply("200 OK", chunked(data), **(head | more))


#: No validators.
NONE: dict[str, str | None] = {"ETag": None, "Last_Modified": None}


class Host(RawServer):
    """Answers every range in one form."""

    def __init__(self, respond: Respond) -> None:
        super().__init__()
        self._respond = respond

    def reply_to(self, head: bytes) -> Reply:
        found = re.search(rb"\r\nRange: bytes=([0-9]+)-([0-9]+)\r\n", head)
        assert found is not None
        text = self._respond(int(found[1]), int(found[2]) + 1)
        at_its_end = b"Transfer-Encoding" not in text and b"Content-Length" not in text
        return Reply(text, hang_up=at_its_end or b"Connection: close" in text)

    @property
    def ranges(self) -> list[bytes]:
        """What was asked for, in order."""
        return [re.findall(rb"Range: bytes=([0-9-]+)", head)[0] for _, head in self.requests]


class HostUrls(NumberedResolver):
    """The one URL of a host."""

    def __init__(self, host: RawServer) -> None:
        super().__init__()
        self._url = SignedUrl(f"{host.url}/E1?Signature=vjbyPxyb")

    def resolve(self, embed_code: str, deadline: Deadline, **how: object) -> SignedUrl:
        del embed_code, deadline, how
        return self._url


class Sink:
    """A `BufferSink` of one buffer for each 256 bytes."""

    urgent = True

    def __init__(self, size: int) -> None:
        self.delivered = b""
        self._left = size
        self._memory = bytearray()

    def buffers(self) -> list[memoryview]:
        """The next buffer."""
        self._memory = self._memory or bytearray(min(256, self._left))
        return [memoryview(self._memory)]

    def commit(self, size: int) -> int:
        """Keep it if it is full."""
        if size < len(self._memory):
            return 0
        piece, self._memory = bytes(self._memory), bytearray()
        self.delivered += piece
        self._left -= len(piece)
        return len(piece)


@pytest.fixture
def pool() -> Iterator[ConnectionPool]:
    """To this machine."""
    dialer = Dialer(SourcePolicy.of("http://127.0.0.1"), client_context)
    found = ConnectionPool(dialer, user_agent="t")
    yield found
    found.close()


def signed_get(pool: ConnectionPool, host: RawServer) -> SignedGet:
    """GETs on a host that never wait between attempts."""
    return SignedGet(
        HostUrls(host),
        pool,
        ManualClock(),
        RetryPolicy(max_attempts=ATTEMPTS, first_delay_s=0.0),
        policy=SourcePolicy.of("http://127.0.0.1"),
        meter=Meter(),
    )


class Form(NamedTuple):
    """One form, and what becomes of it.

    :ivar error: None: it is taken. :ivar gets: of a read that succeeds, or ends with ESTALE.
    """

    respond: Respond
    error: type[BacklotError] | None = None
    gets: int = 1
    version: SourceVersion = V1


def refused(respond: Respond, version: SourceVersion = V1) -> Form:
    """The bytes are not certain."""
    return Form(respond, InvalidRangeResponse, version=version)


def changed(respond: Respond) -> Form:
    """The bytes are of another version."""
    return Form(respond, ContentChanged)


NO_VALIDATORS = SourceVersion("E1", SIZE, None, None)
DATE_ONLY = SourceVersion("E1", SIZE, None, DATE)

READS: dict[str, Form] = {
    "as RFC 9110 shows it": Form(part),
    # a part that is not the wanted one
    "206, shorter": Form(lambda start, stop: part(start, min(stop, start + 250)), gets=3),
    "206, a few bytes at a time": Form(
        lambda start, stop: part(start, min(stop, start + 7)), gets=86
    ),
    "206, longer": Form(lambda start, stop: part(start, stop + 50)),
    "206 to the end of the object": Form(lambda start, _: part(start, SIZE)),
    "206 from before": Form(lambda start, stop: part(start - 60, stop)),
    "206 from before to behind": Form(lambda start, stop: part(start - 60, stop + 60)),
    "206 with the whole object": Form(lambda _start, _stop: part(0, SIZE)),
    "206, shorter, without validators": refused(lambda start, stop: part(start, stop - 1, **NONE)),
    "206, longer, of another version": changed(
        lambda start, stop: part(start, stop + 9, ETag='"v2"')
    ),
    "206, shorter, of another version": changed(
        lambda start, stop: part(start, stop - 9, ETag='"v2"')
    ),
    "206 from before, shorter": refused(lambda start, stop: part(start - 60, stop - 60)),
    "206 from behind": refused(lambda start, stop: part(start + 1, stop)),
    "206 of what is before": refused(lambda start, _: part(0, start)),
    "206 of what is behind": refused(lambda _, stop: part(stop, SIZE)),
    # 200
    "200 with the whole object": Form(whole()),
    "200, chunked": Form(all_in_chunks()),
    "200 up to the end of the connection": Form(whole(Content_Length=None)),
    "200 without an ETag, of a source that has none": Form(whole(ETag=None), version=DATE_ONLY),
    "200 of a source without validators": Form(whole(**NONE), version=NO_VALIDATORS),
    "200 of a part, with Content-Range": Form(
        lambda start, stop: part(start, stop).replace(b"206 Partial Content", b"200 OK")
    ),
    "200, chunked, with Content-Range": refused(
        lambda start, stop: in_chunks(start, stop).replace(b"206 Partial Content", b"200 OK")
    ),
    "200 without the validators": refused(whole(**NONE)),
    "200 without the ETag": refused(whole(ETag=None)),
    "200 of another length": refused(lambda _start, _stop: reply("200 OK", DATA[:-1])),
    "200 with a page": refused(
        lambda _start, _stop: reply("200 OK", b"<html>", **NONE, Content_Type="text/html")
    ),
    "200 with a page of the same length": refused(
        lambda _start, _stop: reply("200 OK", b"<html>".ljust(SIZE), **NONE)
    ),
    "200 without length or validators": refused(
        lambda _start, _stop: reply("200 OK", DATA, **NONE, Content_Length=None),
        NO_VALIDATORS,
    ),
    "200 of another version": changed(whole(ETag='"v2"')),
    # other statuses
    "201": refused(lambda start, stop: part(start, stop).replace(b"206 P", b"201 P")),
    "203": refused(lambda _start, _stop: reply("203 Non-Authoritative Information", DATA)),
    "204": refused(lambda _start, _stop: reply("204 No Content", Content_Length=None)),
    "205": refused(lambda _start, _stop: reply("205 Reset Content")),
    "207": refused(lambda _start, _stop: reply("207 Multi-Status", DATA)),
    "226": refused(lambda _start, _stop: reply("226 IM Used", DATA)),
    "304": refused(lambda _start, _stop: reply("304 Not Modified", Content_Length=None)),
    "416": changed(lambda _start, _stop: reply("416 Range", Content_Range="bytes */50")),
    "416 of the size we know": refused(
        lambda _start, _stop: reply("416 Range", Content_Range=f"bytes */{SIZE}")
    ),
    # Content-Range
    "Bytes": Form(labelled("Bytes {first}-{last}/{size}")),
    "BYTES": Form(labelled("BYTES {first}-{last}/{size}")),
    "blanks and tabs": Form(labelled("  bytes \t {first} - {last} / {size} \t")),
    "bytes=": Form(labelled("bytes={first}-{last}/{size}")),
    "bytes:": Form(labelled("bytes: {first}-{last}/{size}")),
    "no unit": Form(labelled("{first}-{last}/{size}")),
    "leading zeros": Form(labelled("bytes 000{first}-000{last}/000{size}")),
    "no size": Form(labelled("bytes {first}-{last}/*")),
    "no size, of a source with a date only": Form(
        lambda start, stop: part(
            start, stop, ETag=None, Content_Range=f"bytes {start}-{stop - 1}/*"
        ),
        version=DATE_ONLY,
    ),
    "no size, of another version": changed(
        lambda start, stop: part(
            start, stop, ETag='"v2"', Content_Range=f"bytes {start}-{stop - 1}/*"
        )
    ),
    "no size, of a version that could be the same": Form(
        lambda start, stop: part(
            start, stop, ETag='"v2"', Date=LATER, Content_Range=f"bytes {start}-{stop - 1}/*"
        ),
        ContentChanged,
        1 + ATTEMPTS,  # two compare the bytes in vain
    ),
    "the same twice, in one line": Form(
        labelled("bytes {first}-{last}/{size}, bytes {first}-{last}/{size}")
    ),
    "the same twice": Form(
        lambda start, stop: part(start, stop, Content_range=f"bytes {start}-{stop - 1}/{SIZE}")
    ),
    "folded": Form(labelled("bytes\r\n  {first}-{last}/{size}")),
    "two different ones": refused(
        lambda start, stop: part(start, stop, Content_range=f"bytes 0-{stop - 1}/{SIZE}")
    ),
    "no Content-Range": refused(lambda start, stop: part(start, stop, Content_Range=None)),
    "an empty Content-Range": refused(labelled("")),
    "another unit": refused(labelled("seconds {first}-{last}/{size}")),
    "no end": refused(labelled("bytes {first}-/{size}")),
    "no total at all": refused(labelled("bytes {first}-{last}")),
    "a number without an end": refused(labelled("bytes {first}-{last}/" + "9" * 30)),
    "a very long number": refused(labelled("bytes {first}-{last}/" + "9" * 9000)),
    "the end before the start": refused(labelled("bytes {last}-{first}/{size}")),
    "the end behind the size": refused(labelled("bytes {first}-{last}/{first}")),
    "an unsatisfied range with 206": refused(labelled("bytes */{size}")),
    "no size, of a source without validators": refused(
        lambda start, stop: part(
            start, stop, ETag=None, Last_Modified=None, Content_Range=f"bytes {start}-{stop - 1}/*"
        ),
        NO_VALIDATORS,
    ),
    "multipart/byteranges": refused(
        lambda start, stop: reply(
            body=b"--x\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (start, stop - 1, SIZE)
            + DATA[start:stop]
            + b"\r\n--x--\r\n",
            Content_Type="multipart/byteranges; boundary=x",
        )
    ),
    "multipart/byteranges with Content-Range": refused(
        lambda start, stop: part(start, stop, Content_Type="Multipart/ByteRanges; boundary=x")
    ),
    "another size": changed(labelled("bytes {first}-{last}/9001")),
    # Content-Length, and the end of the body
    "Content-Length twice": Form(
        lambda start, stop: part(start, stop, Content_length=str(stop - start))
    ),
    "Content-Length: 5, 5": Form(
        lambda start, stop: part(start, stop, Content_Length=f"{stop - start}, {stop - start}")
    ),
    "chunked": Form(in_chunks),
    "chunked, in capitals, with blanks": Form(
        lambda start, stop: in_chunks(start, stop, Transfer_Encoding="  Chunked \t")
    ),
    "chunked, lines that end with LF": Form(
        lambda start, stop: in_chunks(start, stop).replace(
            chunked(DATA[start:stop]),
            b"64\n%s\n%x\n%s\n0\n\n"
            % (DATA[start : start + 100], stop - start - 100, DATA[start + 100 : stop]),
        )
    ),
    "chunked, a chunk that is longer than it says": Form(
        lambda start, stop: in_chunks(start, stop).replace(
            chunked(DATA[start:stop]),
            b"%x\r\n%s\r\n0\r\n\r\n" % (stop - start - 1, DATA[start:stop]),
        ),
        RemoteUnavailable,
    ),
    "identity and chunked": Form(
        lambda start, stop: in_chunks(start, stop, Transfer_Encoding="identity, chunked")
    ),
    "Transfer-Encoding: identity": Form(
        lambda start, stop: part(start, stop, Transfer_Encoding="identity")
    ),
    "identity, up to the end of the connection": Form(
        lambda start, stop: part(
            start,
            stop,
            Content_Length=None,
            Transfer_Encoding="identity",
            Connection="close",
        )
    ),
    "up to the end of the connection": Form(
        lambda start, stop: part(start, stop, Content_Length=None)
    ),
    "a body that is longer than it says": Form(
        lambda start, stop: part(start, stop) + b"and more, though nobody said so"
    ),
    "chunked, shorter than it says": Form(
        lambda start, stop: in_chunks(start, stop).replace(
            chunked(DATA[start:stop]), chunked(DATA[start : stop - 5])
        ),
        RemoteUnavailable,
    ),
    "another Content-Length": refused(
        lambda start, stop: part(start, stop, Content_Length=str(stop - start - 1))
    ),
    "a Content-Length that is none": Form(
        lambda start, stop: part(start, stop, Content_Length="many"), RemoteUnavailable
    ),
    "a Content-Length with a sign": refused(
        lambda start, stop: part(start, stop, Content_Length=f"+{stop - start}")
    ),
    "two different Content-Lengths": Form(
        lambda start, stop: part(start, stop, Content_Length="600, 601"), RemoteUnavailable
    ),
    "another transfer encoding": Form(
        lambda start, stop: part(start, stop, Transfer_Encoding="gzip"), RemoteUnavailable
    ),
    # the head
    "HTTP/1.0": Form(
        lambda start, stop: part(start, stop, Connection="close").replace(b"HTTP/1.1", b"HTTP/1.0")
    ),
    "no reason": Form(lambda start, stop: part(start, stop).replace(b" Partial Content", b"")),
    "no reason, and its blank": Form(
        lambda start, stop: part(start, stop).replace(b" Partial Content", b" ")
    ),
    "lines that end with LF": Form(
        lambda start, stop: part(start, stop).replace(b"\r\n", b"\n", 6)
        # six lines of the head, with the empty one; the bytes have such an end of a head too
    ),
    "an empty line that ends with LF": Form(
        lambda start, stop: part(start, stop).replace(b"\r\n\r\n", b"\r\n\n", 1)
    ),
    "Connection: close": Form(lambda start, stop: part(start, stop, Connection="close")),
    "a blank behind the ETag": Form(lambda start, stop: part(start, stop, ETag=f"{ETAG} \t")),
    "names in capitals": Form(
        lambda start, stop: part(start, stop).replace(b"Content-Range", b"CONTENT-RANGE")
    ),
    "a Date": Form(lambda start, stop: part(start, stop, Date=DATE)),
    "100 before it": Form(lambda start, stop: b"HTTP/1.1 100 Continue\r\n\r\n" + part(start, stop)),
    "102 before it": Form(
        lambda start, stop: b"HTTP/1.1 102 Processing\r\n\r\n" + part(start, stop)
    ),
    "103 before it": Form(
        lambda start, stop: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + part(start, stop)
    ),
    "several before it": Form(
        lambda start, stop: (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nContent-Range: bytes 0-4/5\r\n\r\nHTTP/1.1 199 x\n\n"
            + part(start, stop)
        )
    ),
    "101": Form(
        lambda _start, _stop: b"HTTP/1.1 101 Switching Protocols\r\n\r\n", RemoteUnavailable
    ),
    "HTTP/2": Form(
        lambda start, stop: part(start, stop).replace(b"HTTP/1.1", b"HTTP/2"), RemoteUnavailable
    ),
    "ICY": Form(
        lambda start, stop: part(start, stop).replace(b"HTTP/1.1", b"ICY"), RemoteUnavailable
    ),
}
READS |= {
    f"Content-Encoding: {word}": Form(encoded(word))
    for word in (
        "", "identity", "Identity", "none", "NONE", "binary", "8bit", "7bit", "utf-8", "UTF-8",
        "utf8", "ISO-8859-1", "us-ascii", "windows-1252", "shift_jis", "video/mp4",
        "text/plain; charset=utf-8", "charset=utf-8", "binary/octet-stream", "aws-chunked",
        "AWS-Chunked", "aws-chunked,", "aws-chunked, utf-8", "identity, identity", '"identity"',
        "base64", "chunked", "hevc",
    )
}  # fmt: skip
READS |= {
    f"Content-Encoding: {word}": refused(encoded(word))
    for word in (
        "gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "bzip2", "xz",
        "gzip, aws-chunked", "aws-chunked,gzip", "identity, br", "gzip;q=1", "application/gzip",
        "application/x-gzip", "aes128gcm",
    )
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_a_read(pool: ConnectionPool, name: str) -> None:
    """Exactly the wanted bytes, or an error of the right kind and no byte."""
    form = READS[name]
    sink = Sink(WANTED.length)
    with Host(form.respond) as host:
        get = signed_get(pool, host)
        reader = RangeReader(get, get.clock)
        deadline = Deadline(20.0, get.clock)
        if form.error is None:
            reader.fetch(form.version, WANTED, sink, deadline)
            assert sink.delivered == DATA[WANTED.start : WANTED.stop]
            assert len(host.requests) == form.gets
            return
        with pytest.raises(form.error) as caught:
            reader.fetch(form.version, WANTED, sink, deadline)
        assert type(caught.value) is form.error
        assert "127.0.0.1" in str(caught.value) or form.error is ContentChanged
        assert "Signature" not in str(caught.value)
        assert len(host.requests) == (form.gets if form.error is ContentChanged else ATTEMPTS)
        if form.error is not RemoteUnavailable:
            assert sink.delivered == b""
        assert DATA[WANTED.start : WANTED.stop].startswith(sink.delivered)


class Probed(NamedTuple):
    """One form of the answers to a probe.

    :ivar size: None: it is refused. :ivar reported: the ``file_size`` of the API.
    """

    respond: Respond
    size: int | None
    reported: int | None = SIZE
    gets: int = 1


def by_place(**answers: Respond) -> Respond:
    """Another answer for the first byte, for the last one, and for those behind it."""

    def respond(start: int, stop: int) -> bytes:
        place = "first" if start == 0 else "last" if start < SIZE else "behind"
        return answers[place](start, stop)

    return respond


def unsatisfied(**headers: str | None) -> Respond:
    """A 416."""
    return lambda _start, _stop: reply("416 Range Not Satisfiable", b"", **(NONE | headers))


def document(size: object) -> Respond:
    """A 416 with S3's error document."""
    body = f"<Error><ActualObjectSize>{size}</ActualObjectSize></Error>".encode()
    return lambda _start, _stop: reply("416 Range Not Satisfiable", body, **NONE)


def empty(first_line: str, **headers: str | None) -> Respond:
    """An answer without a body."""
    return lambda _start, _stop: reply(first_line, b"", **headers)


NO_SIZE = labelled("bytes {first}-{last}/*")

PROBES: dict[str, Probed] = {
    "as RFC 9110 shows it": Probed(part, SIZE),
    "the API says another size": Probed(part, SIZE, reported=7),
    "the API says none": Probed(part, SIZE, reported=None),
    "206, longer": Probed(lambda start, stop: part(start, stop + 999), SIZE),
    "206, longer than is worth reading": Probed(lambda _start, _stop: part(0, SIZE), SIZE),
    "206, longer, the API says another size": Probed(
        lambda start, stop: part(start, stop + 999), None, reported=7
    ),
    "206 of another place": Probed(lambda start, stop: part(start + 1, stop + 1), None),
    "200": Probed(whole(), SIZE),
    "200, the API says none": Probed(whole(), SIZE, reported=None),
    "200, the API says another size": Probed(whole(), None, reported=7),
    "200 with a page, the API says no size": Probed(
        lambda _start, _stop: reply("200 OK", b"<html>", **NONE), None, reported=None
    ),
    "200, chunked": Probed(all_in_chunks(), SIZE),
    "200, chunked, of one byte": Probed(all_in_chunks(DATA[:1]), 1, reported=1),
    "200, chunked, more bytes": Probed(all_in_chunks(), None, reported=SIZE - 1),
    "200, chunked, the API says none": Probed(all_in_chunks(), None, reported=None),
    "200, chunked, without validators": Probed(all_in_chunks(ETag=None, Last_Modified=None), None),
    "200, chunked, of what nobody would skip": Probed(
        all_in_chunks(), None, reported=MAX_SKIP_BYTES + 1
    ),
    "200 up to the end of the connection": Probed(whole(Content_Length=None), SIZE),
    "200 of a part, with Content-Range": Probed(
        lambda start, stop: part(start, stop).replace(b"206 Partial Content", b"200 OK"), SIZE
    ),
    "aws-chunked": Probed(encoded("aws-chunked"), SIZE),
    "aws-chunked over another size": Probed(encoded("aws-chunked"), None, reported=SIZE - 85),
    "aws-chunked, the API says none": Probed(encoded("aws-chunked"), None, reported=None),
    "utf-8, the API says none": Probed(encoded("utf-8"), SIZE, reported=None),
    "gzip": Probed(encoded("gzip"), None),
    # a host that does not know the size: the byte behind is missing, the last one is there
    "no size": Probed(by_place(first=NO_SIZE, last=NO_SIZE, behind=unsatisfied()), SIZE, gets=3),
    "no size, but of 416": Probed(
        by_place(first=NO_SIZE, last=NO_SIZE, behind=unsatisfied(Content_Range=f"bytes */{SIZE}")),
        SIZE,
        gets=2,
    ),
    "no size, but of S3's document": Probed(
        by_place(first=NO_SIZE, last=NO_SIZE, behind=document(SIZE)), SIZE, gets=2
    ),
    "no size, the API says none": Probed(NO_SIZE, None, reported=None),
    "no size, the API says a smaller one": Probed(
        by_place(first=NO_SIZE, last=NO_SIZE, behind=unsatisfied()), None, reported=SIZE - 1
    ),
    "no size, the API says a larger one": Probed(
        by_place(first=NO_SIZE, last=unsatisfied(), behind=unsatisfied()), None
    ),
    "no size, and another in the 416": Probed(
        by_place(first=NO_SIZE, last=NO_SIZE, behind=unsatisfied(Content_Range="bytes */7")), None
    ),
    "no size, and another version at the end": Probed(
        by_place(
            first=NO_SIZE,
            last=lambda start, stop: part(start, stop, ETag='"v2"'),
            behind=unsatisfied(),
        ),
        None,
    ),
    # an empty object
    "empty: 416 with its size": Probed(unsatisfied(Content_Range="bytes */0"), 0, reported=0),
    "empty: 416, Bytes*/0": Probed(unsatisfied(Content_Range="Bytes  */0 "), 0, reported=0),
    "empty: 416 with S3's document": Probed(document(0), 0, reported=5),
    "empty: 416 that says nothing": Probed(unsatisfied(), 0, reported=0),
    "empty: 416 that says nothing, as the API": Probed(unsatisfied(), 0, reported=None),
    "empty: 200": Probed(empty("200 OK"), 0, reported=0),
    "empty: 200 without validators": Probed(
        empty("200 OK", ETag=None, Last_Modified=None), 0, reported=0
    ),
    "empty: 200, the API says none": Probed(empty("200 OK"), 0, reported=None),
    "empty: 200, chunked": Probed(
        lambda _start, _stop: reply(
            "200 OK", chunked(b""), Content_Length=None, Transfer_Encoding="chunked"
        ),
        0,
        reported=0,
    ),
    "empty: 200 up to the end of the connection": Probed(
        empty("200 OK", Content_Length=None), 0, reported=0
    ),
    "empty: 206, 0-0/0": Probed(
        empty("206 Partial Content", Content_Range="bytes 0-0/0"), 0, reported=0
    ),
    "empty: 206, */0": Probed(empty("206 Partial Content", Content_Range="bytes */0"), 0),
    "empty: 206, 0--1/0": Probed(empty("206 Partial Content", Content_Range="bytes 0--1/0"), 0),
    "empty: 206 up to the end of the connection": Probed(
        empty("206 Partial Content", Content_Range="bytes 0-0/0", Content_Length=None), 0
    ),
    "empty? 416 of more bytes": Probed(unsatisfied(Content_Range="bytes */7"), None),
    "empty? 416 of more bytes by S3's document": Probed(document(7), None),
    "empty? 416 that says nothing, the API says more": Probed(unsatisfied(), None),
    "empty? 200, the API says more": Probed(empty("200 OK"), None),
    "empty? 200 cut before its first byte": Probed(empty("200 OK", Content_Length=None), None),
    "empty? 206 with a byte": Probed(
        lambda _start, _stop: reply(
            body=b"x", Content_Range="bytes 0-0/0", Content_Length=None, Connection="close"
        ),
        None,
        reported=0,
    ),
    "empty? 206 of a byte that is not there": Probed(
        empty("206 Partial Content", Content_Range="bytes 0-0/1"), None
    ),
    "empty? 206 without Content-Range": Probed(empty("206 Partial Content"), None, reported=0),
    "empty? 204": Probed(empty("204 No Content", Content_Length=None), None, reported=0),
}


@pytest.mark.parametrize("respond", [all_in_chunks(), whole(Content_Length=None)])
def test_a_probe_that_counts_too_few_bytes(pool: ConnectionPool, respond: Respond) -> None:
    """Whether it was cut or is another source: its size is not certain."""
    with Host(respond) as host:
        probe = SourceProbe(signed_get(pool, host), lambda _code: SIZE + 1)
        with pytest.raises(RemoteUnavailable, match="ended early"):
            probe.probe("E1", Deadline(20.0, ManualClock()))


@pytest.mark.parametrize("name", PROBES)
def test_a_probe(pool: ConnectionPool, name: str) -> None:
    """The size that the host shows, or an error."""
    form = PROBES[name]
    with Host(form.respond) as host:
        get = signed_get(pool, host)
        probe = SourceProbe(get, lambda _code: form.reported)
        if form.size is None:
            with pytest.raises(InvalidRangeResponse, match=r"source host 127\.0\.0\.1 answers"):
                probe.probe("E1", Deadline(20.0, get.clock))
            return
        assert probe.probe("E1", Deadline(20.0, get.clock)).size == form.size
        assert len(host.requests) == form.gets
        assert host.ranges[0] == b"0-0"


class HugeHost(RawServer):
    """Answers every range with a 200 of an object that is longer than anybody would skip."""

    SIZE = 4 * MAX_SKIP_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.in_ranges = False
        self.sent_bytes = 0

    def reply_to(self, head: bytes) -> Reply:
        found = re.search(rb"\r\nRange: bytes=([0-9]+)-([0-9]+)\r\n", head)
        assert found is not None
        start, last = int(found[1]), int(found[2])
        if self.in_ranges:
            place = f"bytes {start}-{last}/{self.SIZE}"
            return Reply(reply(body=bytes(last + 1 - start), Content_Range=place))
        return Reply(reply("200 OK", bytes(MAX_SKIP_BYTES + 1000), Content_Length=str(self.SIZE)))


def test_a_host_without_ranges(pool: ConnectionPool) -> None:
    """What is near its beginning is read; what is far inside is refused, soon by one GET each."""
    version = SourceVersion("E1", HugeHost.SIZE, ETAG, DATE)

    with HugeHost() as host:
        get = signed_get(pool, host)
        reader = RangeReader(get, get.clock)

        def read_at(start: int) -> bytes:
            sink = Sink(600)
            wanted = ByteRange(start, start + 600)
            reader.fetch(version, wanted, sink, Deadline(20.0, get.clock))
            return sink.delivered

        assert SourceProbe(get, lambda _: HugeHost.SIZE).probe("E1", Deadline(20, get.clock)) == (
            version
        )
        for start in (0, 5000, MAX_SKIP_BYTES):
            assert read_at(start) == bytes(600)
        assert len(set(host.connections)) == 4, "none was kept with the rest of a body on it"
        asked = len(host.requests)
        with pytest.raises(InvalidRangeResponse, match=r"does not answer ranges, .* 16 MiB"):
            read_at(MAX_SKIP_BYTES + 1)
        assert len(host.requests) == asked + ATTEMPTS
        for _ in range(3):
            asked = len(host.requests)
            with pytest.raises(RangesUnsupported, match="Accept-Ranges"):
                read_at(MAX_SKIP_BYTES + 1)
            assert len(host.requests) == asked + 1
        host.in_ranges = True
        assert read_at(2 * MAX_SKIP_BYTES) == bytes(600)
        host.in_ranges = False
        with pytest.raises(InvalidRangeResponse) as caught:
            read_at(2 * MAX_SKIP_BYTES)
        assert type(caught.value) is InvalidRangeResponse


def test_many_hosts_without_ranges() -> None:
    """An API may name a new host for each asset."""
    hosts = HostsWithoutRanges()
    for number in range(5000):
        hosts.refusal(f"h{number}")
    assert len(hosts._answers) <= HostsWithoutRanges._HOSTS


def test_a_small_object_keeps_its_connection(pool: ConnectionPool) -> None:
    """A probe that is answered with all of it reads it to its end; a larger one is left."""
    with Host(whole()) as host:
        get = signed_get(pool, host)
        for _ in range(2):
            SourceProbe(get, lambda _: SIZE).probe("E1", Deadline(20.0, get.clock))
        assert host.connections == [0, 0]
