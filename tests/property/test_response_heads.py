# SPDX-License-Identifier: Apache-2.0
"""Heads of answers: a head that arrives as a whole means the same as one that arrives in parts."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from backlotfs.http.exchange import Exchange, RangeResponse

_BODY = b"5\r\nabcde\r\n0\r\n\r\n"
_NAMES = st.sampled_from(
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "ETag",
        "X-a",
        "X a",
        "",
    ]
)
_VALUES = st.one_of(
    st.sampled_from(["5", "15", "0", "5, 5", "-5", "0x5", "chunked", "identity", "gzip, chunked"]),
    st.sampled_from(["close", "Keep-Alive, close", '"abc"', "ümlaut", "a\tb", "a\x00b", "a\rb"]),
    st.text(st.characters(max_codepoint=255, exclude_characters="\n"), max_size=8),
)
_SEPARATORS = st.sampled_from([":", ": ", " : ", ":\t ", ""])
_LINE_ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", " \r\n", "\r\n "])
_ODD_LINES = st.builds("{}{}{}{}".format, _NAMES, _SEPARATORS, _VALUES, _LINE_ENDS)
_PLAIN_LINES = st.builds("X-{}: {}\r\n".format, st.integers(), st.sampled_from(["", "a b", "1"]))
_LINES = st.builds(
    lambda before, length, after: before + length + after,
    st.lists(_PLAIN_LINES, max_size=3),
    st.sampled_from([["Content-Length: 15\r\n"], ["Content-Length: 15\r\n"], []]),
    st.lists(_ODD_LINES, max_size=3),
)
_STATUS_LINES = st.one_of(
    st.just("HTTP/1.1 206 OK\r\n"),
    st.just("HTTP/1.1 200\r\n"),
    st.sampled_from(["HTTP/1.0 206 OK\r\n", "HTTP/1.1 204 -\r\n", "HTTP/1.1 103 Early\r\n"]),
    st.sampled_from(["HTTP/1.1 206 OK\n", "HTTP/1.1 99 x\r\n"]),
)


def _outcome(send: Callable[[socket.socket], None]) -> tuple[Any, ...]:
    """Status, headers, framing and body of one answer; or the name of the error."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(5.0)
        send(there)
        response = RangeResponse(here, method="GET", exchange=Exchange())
        try:
            response.begin()
            found = (
                response.status, dict(response.fields), response.length, response.chunked,
                response.will_close, response.version,
            )  # fmt: skip
            return (*found, response.read(40))
        except (http.client.HTTPException, ValueError) as error:
            return (type(error).__name__,)
        finally:
            response.close()


@given(_STATUS_LINES, _LINES)
@example("HTTP/1.1 206 OK\r\n", ["Content-Length: 15\r\n", 'ETag: "a"\r\n'])
@example("HTTP/1.1 206 OK\r\n", ["Content-Length: 15\r\n", "Transfer-Encoding: chunked\r\n"])
@example("HTTP/1.1 206 OK\r\n", ["Content-Length: 15\r\n", "Content-Length: 5\r\n"])
def test_a_head_means_the_same_in_one_part_and_in_two(status_line: str, lines: list[str]) -> None:
    """Only the head in one part may be read without the library's parser."""
    head = (status_line + "".join(lines) + "\r\n").encode("latin-1")

    def whole(sock: socket.socket) -> None:
        sock.sendall(head + _BODY)
        sock.shutdown(socket.SHUT_WR)

    def in_two(sock: socket.socket) -> None:
        # more than the first look at the head can show
        early = b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 9000 + b"\r\n\r\n"
        sock.sendall(early + head + _BODY)
        sock.shutdown(socket.SHUT_WR)

    assert _outcome(whole) == _outcome(in_two)
