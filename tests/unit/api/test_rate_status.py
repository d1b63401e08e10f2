"""What the headers and messages of answers say about credits and pauses."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from requests.structures import CaseInsensitiveDict

from backlotfs.api.rate_status import WINDOW_S, RateStatus, read_rate, retry_after_s

NOW_S = 1_893_456_000.0  # by the server's clock
MONOTONIC_S = 1000.0


def read(headers: dict[str, str]) -> RateStatus | None:
    """What an answer with these headers says."""
    found: CaseInsensitiveDict[str] = CaseInsensitiveDict(headers)
    return read_rate(found, monotonic_s=MONOTONIC_S, server_now_s=NOW_S)


@pytest.mark.parametrize(
    ("headers", "credits_left"),
    [
        ({"X-RateLimit-Credits": "298"}, 298),
        ({"x-ratelimit-remaining": "17"}, 17),
        ({"RateLimit-Remaining": "0"}, 0),
        ({"X-RateLimit-Credits": "5", "X-RateLimit-Remaining": "6", "RateLimit-Remaining": "7"}, 5),
        ({"X-RateLimit-Credits": "many", "RateLimit-Remaining": "7"}, 7),
    ],
)
def test_credits_that_are_left(headers: dict[str, str], credits_left: int) -> None:
    """The first header with a number counts; without an end the window lasts a minute."""
    assert read(headers) == RateStatus(credits_left, MONOTONIC_S + WINDOW_S)


@pytest.mark.parametrize(
    ("headers", "ends_in_s"),
    [
        ({"X-RateLimit-Reset": "12"}, 12),
        ({"RateLimit-Reset": "0"}, 0),
        ({"X-RateLimit-Reset": "12", "RateLimit-Reset": "13"}, 12),
        ({"X-RateLimit-Reset": str(int(NOW_S) + 33)}, 33),
        ({"X-RateLimit-Reset": "3600"}, 3600),
        ({"X-RateLimit-Reset": str(int(NOW_S) + 3601)}, WINDOW_S),
        ({"X-RateLimit-Reset": str(int(NOW_S) - 1)}, WINDOW_S),
        ({"X-RateLimit-Reset": "99999999"}, WINDOW_S),
        ({"X-RateLimit-Reset": "-5"}, WINDOW_S),
        ({"X-RateLimit-Reset": "soon"}, WINDOW_S),
    ],
)
def test_the_end_of_the_window(headers: dict[str, str], ends_in_s: float) -> None:
    """Seconds, or seconds since the epoch by the server's clock; what is neither is ignored."""
    status = read({"X-RateLimit-Remaining": "9", **headers})
    assert status == RateStatus(9, MONOTONIC_S + ends_in_s)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-RateLimit-Reset": "12"}, {"X-RateLimit-Credits": "-1"}, {"Retry-After": "3"}],
)
def test_answers_that_say_nothing(headers: dict[str, str]) -> None:
    """The end of a window without a number of credits is nothing."""
    assert read(headers) is None


@pytest.mark.parametrize(
    ("message", "headers", "seconds"),
    [
        ("Try again after 55 seconds.", {"Retry-After": "9"}, 55.0),
        ("wait 1.5s", {}, 1.5),
        ("slow down", {"X-RateLimit-Reset": "7", "Retry-After": "9"}, 7.0),
        ("slow down", {"X-RateLimit-Reset": str(int(NOW_S) + 20)}, 20.0),
        ("slow down", {"RateLimit-Reset": "8"}, 8.0),
        ("slow down", {"Retry-After": "9"}, 9.0),
        ("slow down", {"Retry-After": formatdate(NOW_S + 30, usegmt=True)}, 30.0),
        ("slow down", {"Retry-After": formatdate(NOW_S - 30, usegmt=True)}, 0.0),
        ("slow down", {"Retry-After": "999999999"}, 3600.0),
        ("slow down", {"Retry-After": "later"}, None),
        ("slow down", {"X-RateLimit-Credits": "0"}, None),
        ("", {}, None),
    ],
)
def test_how_long_a_429_asks_to_wait(
    message: str, headers: dict[str, str], seconds: float | None
) -> None:
    """By its message, else its headers, an hour at most; None: it names no time."""
    found: CaseInsensitiveDict[str] = CaseInsensitiveDict(headers)
    assert retry_after_s(message, found, NOW_S) == seconds
