# SPDX-License-Identifier: Apache-2.0
"""Preview images: whom they are fetched from, and what is refused."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

from typing import cast

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    BacklotError,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
)
from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.http.pool import ConnectionPool
from backlotfs.source.preview_images import MAX_IMAGE_BYTES, PreviewImages
from tests.fakes.clocks import ManualClock
from tests.fakes.source_host import ScriptedAnswer

URL = "http://origin.example/A%2fB/promo"


class Host:
    """A pool that gives these answers in turn."""

    def __init__(self, *answers: ScriptedAnswer | BacklotError) -> None:
        self.answers = list(answers)
        self.left = list(answers)
        self.asked: list[str] = []

    def get(
        self, url: str, wanted: ByteRange, *, if_match: str | None = None, timeout_s: float = 0
    ) -> ScriptedAnswer:
        assert if_match is None
        assert wanted.length <= MAX_IMAGE_BYTES + 1
        self.asked.append(url)
        answer = self.left.pop(0)
        if isinstance(answer, BacklotError):
            raise answer
        return answer

    def fetch(self, url: str = URL, *allowed: str) -> bytes:
        """Fetch it with a policy that lists these hosts; every answer must be closed then."""
        clock = ManualClock()
        policy = SourcePolicy.of("http://api.example", allowed)
        images = PreviewImages(cast("ConnectionPool", self), clock, policy)
        try:
            return images.fetch(url, Deadline(30.0, clock))
        finally:
            gone = self.answers[: len(self.answers) - len(self.left)]
            assert all(a.closed for a in gone if isinstance(a, ScriptedAnswer))


def redirect(to: str) -> ScriptedAnswer:
    """To there."""
    return ScriptedAnswer(302, {"location": to})


@pytest.mark.parametrize("status", [200, 206])
def test_an_image(status: int) -> None:
    """Whole, whether or not the host knows ranges; the URL goes out as it is."""
    host = Host(ScriptedAnswer(status, {}, b"a" * 100_000, b"b"))
    assert host.fetch() == b"a" * 100_000 + b"b"
    assert host.asked == [URL]


def test_the_largest_and_a_larger_one() -> None:
    """The limit itself is fine; of one byte more nothing is kept."""
    assert len(Host(ScriptedAnswer(206, {}, bytes(MAX_IMAGE_BYTES))).fetch()) == MAX_IMAGE_BYTES
    with pytest.raises(ProtocolViolation, match="larger than 4 MiB"):
        Host(ScriptedAnswer(200, {}, bytes(2 * MAX_IMAGE_BYTES))).fetch()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, SourceGone),
        (410, SourceGone),
        (403, SourceDenied),
        (416, ProtocolViolation),
        (204, ProtocolViolation),
    ],
)
def test_refusals(status: int, error: type[BacklotError]) -> None:
    """Are not asked again."""
    host = Host(ScriptedAnswer(status))
    with pytest.raises(error, match="preview image"):
        host.fetch()
    assert len(host.asked) == 1


def test_passing_failures() -> None:
    """Are tried again, three times in all."""
    image = ScriptedAnswer(200, {}, b"image")
    host = Host(ScriptedAnswer(503), RemoteUnavailable("cut"), image)
    assert host.fetch() == b"image"
    with pytest.raises(RemoteUnavailable, match="503"):
        Host(*[ScriptedAnswer(503) for _ in range(3)]).fetch()


def test_an_encoding_that_was_not_asked_for() -> None:
    """Nothing is unpacked: what it unpacks to has no limit."""
    with pytest.raises(ProtocolViolation, match="encoding"):
        Host(ScriptedAnswer(200, {"content-encoding": "gzip"}, b"x")).fetch()


@pytest.mark.parametrize("url", ["ftp://h/a", "file:///etc/passwd", "/a", "", "http://u:p@h/a"])
def test_a_url_that_is_none(url: str) -> None:
    """Nobody is asked."""
    host = Host()
    with pytest.raises(ProtocolViolation):
        host.fetch(url)
    assert host.asked == []


def test_redirects() -> None:
    """On the same host, and to hosts that are listed; no others."""
    image = ScriptedAnswer(200, {}, b"image")
    host = Host(redirect("/there"), image)
    assert host.fetch() == b"image"
    assert host.asked == [URL, "http://origin.example/there"]
    with pytest.raises(SourceRefused, match=r"other\.example"):
        Host(redirect("http://other.example/")).fetch()
    listed = Host(redirect("http://other.example/"), ScriptedAnswer(200, {}, b"image"))
    assert listed.fetch(URL, "other.example") == b"image"
