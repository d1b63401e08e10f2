# SPDX-License-Identifier: Apache-2.0
"""Thumbnails that a mount makes when they are looked up."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest

from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import (
    BacklotError,
    Interrupted,
    InvalidRangeResponse,
    NoSuchEntry,
    RemoteUnavailable,
    SourceGone,
)
from backlotfs.namespace.providers.thumbnails import Wanted
from backlotfs.thumbnails import shared
from backlotfs.thumbnails.picture import png_texts
from backlotfs.thumbnails.shared import FAILED_S, LOOK_UP_PAUSE_S, REFUSED_S, SharedPictures
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S
from tests.unit.thumbnails.images import encoded, opened

WANTED = Wanted("https://images/a.jpg", "./a%20film.mov", "large", 700, 1234)


class Host:
    """Serves one image, fails, or waits for its gate."""

    def __init__(self) -> None:
        self.outcome: bytes | BacklotError = encoded(640, 360)
        self.fetched: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, url: str, deadline: Deadline) -> bytes:
        assert 0 < deadline.remaining_s() < 60
        self.fetched.append(url)
        assert self.gate.wait(PATIENCE_S)
        if isinstance(self.outcome, BacklotError):
            raise self.outcome
        return self.outcome


@pytest.fixture
def host() -> Iterator[Host]:
    """Lets go of whoever waits in the end."""
    host = Host()
    yield host
    host.gate.set()


@pytest.fixture
def clock() -> ManualClock:
    """Stands still."""
    return ManualClock()


@pytest.fixture
def pictures(host: Host, clock: ManualClock) -> SharedPictures:
    """With their own threads."""
    return SharedPictures(host.fetch, clock, software="backlotfs test")


def waiter(
    clock: ManualClock, interrupted: Callable[[], bool] = lambda: False
) -> InterruptibleWait:
    """The patience of one look-up."""
    return InterruptibleWait(Deadline(5.0, clock), interrupted)


def test_a_thumbnail(pictures: SharedPictures, host: Host, clock: ManualClock) -> None:
    """In its size, with the standard's texts; made once."""
    png = pictures.png(WANTED, waiter(clock))
    assert opened(png).size == (256, 144)
    assert png_texts(png) == {
        "Thumb::URI": "./a%20film.mov",
        "Thumb::MTime": "1234",
        "Thumb::Size": "700",
        "Software": "backlotfs test",
    }
    assert pictures.png(WANTED, waiter(clock)) == png
    assert host.fetched == [WANTED.image_url]
    other = pictures.png(WANTED._replace(mtime_s=1235), waiter(clock))
    assert png_texts(other)["Thumb::MTime"] == "1235"


def test_names(pictures: SharedPictures) -> None:
    """By the present standard, and as before it and in Xfce 4.18."""
    uris = ("./a%20film%23.mov", "a%20film%23.mov")
    assert pictures.named("a film#.mov") == {
        hashlib.md5(uri.encode(), usedforsecurity=False).hexdigest() + ".png": uri for uri in uris
    }
    assert pictures.sizes[:2] == ("normal", "large")


@pytest.mark.parametrize(
    ("outcome", "pause_s"),
    [
        (SourceGone("gone"), REFUSED_S),
        (InvalidRangeResponse("wrong"), REFUSED_S),
        (b"<html>no image</html>", REFUSED_S),
        (encoded(4000, 3000), REFUSED_S),
        (RemoteUnavailable("down"), FAILED_S),
    ],
)
def test_an_image_that_is_not_to_be_had(
    pictures: SharedPictures,
    host: Host,
    clock: ManualClock,
    outcome: bytes | BacklotError,
    pause_s: float,
) -> None:
    """There is no thumbnail, in no size, and the host is left alone for a while."""
    host.outcome = outcome
    for size in ("normal", "large", "normal"):
        with pytest.raises(NoSuchEntry):
            pictures.png(WANTED._replace(size=size), waiter(clock))
    assert len(host.fetched) == 1
    host.outcome = encoded()
    clock.advance(pause_s + 1)
    assert pictures.png(WANTED, waiter(clock))
    assert len(host.fetched) == 2


def test_a_late_image(pictures: SharedPictures, host: Host, clock: ManualClock) -> None:
    """Is no thumbnail now; nobody else waits meanwhile, and nothing is asked; then it is there."""
    host.gate.clear()

    def late() -> bool:
        clock.advance(4.0)
        return False

    with pytest.raises(NoSuchEntry):
        pictures.png(WANTED, waiter(clock, late))
    other = WANTED._replace(image_url="https://images/b.jpg")
    with pytest.raises(NoSuchEntry):
        pictures.png(other, waiter(clock, lambda: pytest.fail("it waited")))
    assert host.fetched == [WANTED.image_url]
    host.gate.set()
    clock.advance(LOOK_UP_PAUSE_S + 1)
    assert pictures.png(other, waiter(clock))
    assert pictures.png(WANTED, waiter(clock))


def test_who_is_killed_waits_no_longer(
    pictures: SharedPictures, host: Host, clock: ManualClock
) -> None:
    """And that is no reason to be short with others."""
    host.gate.clear()
    with pytest.raises(Interrupted):
        pictures.png(WANTED, waiter(clock, lambda: True))
    host.gate.set()
    assert pictures.png(WANTED, waiter(clock))


def test_what_is_kept_is_bounded(
    host: Host, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By bytes; what went is made again, the same."""
    size = len(SharedPictures(host.fetch, clock, software="").png(WANTED, waiter(clock)))
    monkeypatch.setattr(shared, "KEPT_BYTES", 2 * size + 1)
    pictures = SharedPictures(host.fetch, clock, software="")
    versions = [WANTED._replace(mtime_s=mtime_s) for mtime_s in (1234, 1235, 1236)]
    made = [pictures.png(version, waiter(clock)) for version in versions]
    host.fetched.clear()
    assert [pictures.png(version, waiter(clock)) for version in versions[1:]] == made[1:]
    assert host.fetched == []
    assert pictures.png(versions[0], waiter(clock)) == made[0]
    assert len(host.fetched) == 1
