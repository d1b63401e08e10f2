# SPDX-License-Identifier: Apache-2.0
"""What a source really is, from one byte of it."""

from __future__ import annotations

import pytest

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.byterange import ByteRange
from backlotfs.errors import ProtocolViolation, RemoteUnavailable, SourceGone
from backlotfs.source.range_reader import SourceProbe
from backlotfs.source.version import SourceVersion
from tests.fakes.records import LAST_MODIFIED
from tests.fakes.source_host import ScriptedAnswer, Source, partial

FIRST = ByteRange(0, 1)


def probed(source: Source) -> SourceVersion:
    """Probe E1."""
    return SourceProbe(source.signed_get).probe("E1", source.deadline())


def test_identity_of_one_byte() -> None:
    """Size from ``Content-Range``, ETag and date as sent; one byte asked, no precondition."""
    source = Source(partial(FIRST, 5_000_000_000, b"a"))
    assert probed(source) == SourceVersion("E1", 5_000_000_000, '"v1"', LAST_MODIFIED)
    assert source.pool.asked == [("http://origin.example/E1?n=1", FIRST, None)]
    assert source.all_closed


def test_a_probe_asks_for_a_current_url_with_its_priority_and_turn() -> None:
    """An API call that it needs waits behind those that an application waits for."""
    source = Source(partial(FIRST, 7, b"a"))
    turn = Turn(lambda: None)
    SourceProbe(source.signed_get).probe("E1", source.deadline(), Priority.BACKGROUND, turn)
    assert source.resolver.asked == [
        {"current": True, "priority": Priority.BACKGROUND, "turn": turn}
    ]


def test_a_host_without_validators() -> None:
    """Only the size is known then."""
    source = Source(partial(FIRST, 7, b"a", etag=None, last_modified=None))
    assert probed(source) == SourceVersion("E1", 7, None, None)


def xml(size: object) -> bytes:
    """The body of a 416."""
    return f"<Error><ActualObjectSize>{size}</ActualObjectSize></Error>".encode()


@pytest.mark.parametrize("body", [b"", xml(0), b"<html>"])
def test_an_empty_object(body: bytes) -> None:
    """Its first byte does not exist: 416, and so length 0."""
    source = Source(ScriptedAnswer(416, {"etag": '"e"'}, body))
    assert probed(source) == SourceVersion("E1", 0, '"e"', None)


def test_a_416_for_an_object_that_has_bytes() -> None:
    """A contradiction is asked again, and is never taken for an empty file."""
    lie = ScriptedAnswer(416, {}, xml(7))
    source = Source(lie, partial(FIRST, 7, b"a"))
    assert probed(source).size == 7
    source = Source(*[ScriptedAnswer(416, {}, xml(7)) for _ in range(3)])
    with pytest.raises(ProtocolViolation, match="416"):
        probed(source)


def test_a_200_without_a_length_is_asked_again() -> None:
    """It does not say how long the object is; a host that keeps to it cannot be read."""
    source = Source(ScriptedAnswer(200, {}, b"abc"), partial(FIRST, 3, b"a"))
    assert probed(source).size == 3
    assert source.clock.slept_s == [1.0]


def test_a_byte_that_does_not_come_is_not_missed() -> None:
    """The head of the answer has said everything already."""
    cut = RemoteUnavailable("source host origin.example: the connection was cut")
    source = Source(partial(FIRST, 7, cut), partial(FIRST, 7, b"a"))
    assert probed(source).size == 7


def test_gone() -> None:
    """A definite answer is passed on."""
    with pytest.raises(SourceGone):
        probed(Source(ScriptedAnswer(404), ScriptedAnswer(404)))
