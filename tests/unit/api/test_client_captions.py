# SPDX-License-Identifier: Apache-2.0
"""The caption document of an asset: its bytes, whatever they are, and not too many of them."""

from __future__ import annotations

import gzip

import pytest

from backlotfs.api.client import MAX_CAPTION_BYTES
from backlotfs.errors import (
    CredentialsRefused,
    NoSuchEntry,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)
from tests.fakes.api import E, Reply, Scripted, Step, said, scripted

TT = b'\xef\xbb\xbf<?xml version="1.0"?>\r\n<tt/>\n'


def captions(api: Scripted) -> bytes:
    """Ask."""
    return api.client.get_captions(E, deadline=api.deadline())


@pytest.mark.parametrize("kind", ["application/ttaf+xml", "text/html", "application/json", ""])
def test_bytes_as_they_are(kind: str) -> None:
    """Whatever they are said to be; whatever they are."""
    api = scripted(Reply(200, TT, {"Content-Type": kind}))
    assert captions(api) == TT
    assert api.adapter.paths() == [f"/v2/assets/{E}/closed_captions"]
    assert api.adapter.headers[-1]["Accept"] == "*/*"


@pytest.mark.parametrize("reply", [Reply(204), Reply(200), Reply(200, b"")])
def test_an_empty_answer(reply: Reply) -> None:
    """It is no fault."""
    assert captions(scripted(reply)) == b""


def test_compressed_on_the_way() -> None:
    """What was compressed for the way only is unpacked."""
    api = scripted(Reply(200, gzip.compress(TT), {"Content-Encoding": "gzip"}))
    assert captions(api) == TT


@pytest.mark.parametrize("packed", [False, True])
def test_at_most_so_many(packed: bool) -> None:
    """As many as a document may have are taken, one more is refused, not kept."""

    def reply(count: int) -> Reply:
        body = b" " * count
        return (
            Reply(200, gzip.compress(body), {"Content-Encoding": "gzip"})
            if packed
            else Reply(200, body)
        )

    assert len(captions(scripted(reply(MAX_CAPTION_BYTES)))) == MAX_CAPTION_BYTES
    with pytest.raises(ProtocolViolation, match="more than 4 MiB"):
        captions(scripted(reply(MAX_CAPTION_BYTES + 1)))


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (said(404, "No closed captions exist."), NoSuchEntry),
        (said(403, "no"), CredentialsRefused),
        (said(400, "no such route"), ProtocolViolation),
        (Reply(302, b"", {"Location": "https://elsewhere.example/x.vtt"}), ProtocolViolation),
    ],
)
def test_refusals(step: Step, error: type[Exception]) -> None:
    """As of any route, and not asked twice."""
    with pytest.raises(error):
        captions(scripted(step))


def test_what_passes_is_asked_again() -> None:
    """A fault of the server, and a body that breaks off."""
    cut = Reply(200, TT[:9], {"Content-Length": str(len(TT))})
    assert captions(scripted(said(503, "maintenance"), cut, Reply(200, TT))) == TT


def test_credits_that_are_spent() -> None:
    """They are waited for; the missing time is told when that takes too long."""
    spent = said(429, "Try again after 55 seconds.", X_RateLimit_Reset="55")
    assert captions(scripted(spent, Reply(200, TT))) == TT
    with pytest.raises(RateLimited) as refused:
        captions(scripted(spent, credit_wait_s=30.0))
    assert refused.value.retry_after_s == pytest.approx(26, abs=1.1)
    assert isinstance(refused.value, RemoteUnavailable)
