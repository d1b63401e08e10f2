# SPDX-License-Identifier: Apache-2.0
"""What answers say of credits, by the headers that servers use, and how long a 429 asks to wait."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from requests.structures import CaseInsensitiveDict

from backlotfs.api.rate_limiter import RateStatus, read_rate, retry_after_s

NOW_S = 1_893_456_000.0
MONOTONIC_S = 1000.0


def rate(**headers: str) -> RateStatus | None:
    """Of an answer with these headers; ``_`` stands for ``-``."""
    named = CaseInsensitiveDict((name.replace("_", "-"), text) for name, text in headers.items())
    return read_rate(named, monotonic_s=MONOTONIC_S, server_now_s=NOW_S)


@pytest.mark.parametrize(
    "name", ["X_RateLimit_Credits", "X_RateLimit_Remaining", "RateLimit_Remaining"]
)
@pytest.mark.parametrize("reset", ["X_RateLimit_Reset", "RateLimit_Reset"])
def test_headers(name: str, reset: str) -> None:
    """Calls that are left, and the seconds until there are more; in any case of letters."""
    assert rate(**{name: "250", reset: "41"}) == RateStatus(250, MONOTONIC_S + 41)
    assert rate(**{name.lower(): "0", reset.upper(): "0"}) == RateStatus(0, MONOTONIC_S)


def test_the_apis_own_header_counts_first() -> None:
    """A proxy may speak of limits of its own."""
    found = rate(RateLimit_Remaining="9", X_RateLimit_Credits="250", X_RateLimit_Reset="41")
    assert found == RateStatus(250, MONOTONIC_S + 41)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        (f"{NOW_S + 41:.0f}", 41), (f"{NOW_S + 3600:.0f}", 3600),  # a moment since the epoch
        (f"{NOW_S - 5:.0f}", 60), (f"{NOW_S + 4000:.0f}", 60), ("later", 60), ("-3", 60), ("", 60),
        ("99999", 60), (None, 60), ("3600", 3600), ("7.5", 7.5),
    ],
)  # fmt: skip
def test_the_end_of_the_window(reset: str | None, seconds: float) -> None:
    """In seconds, or as a moment; what cannot be is a minute, as the API documents it."""
    headers = {} if reset is None else {"X_RateLimit_Reset": reset}
    found = rate(X_RateLimit_Credits="9", **headers)
    assert found == RateStatus(9, MONOTONIC_S + seconds)


@pytest.mark.parametrize("credits", ["many", "", "-1", "1e5", "NaN", "9" * 400])
def test_silent_answers(credits: str) -> None:
    """No header, or one without a number, says nothing."""
    assert rate() is None
    assert rate(X_RateLimit_Reset="41") is None
    assert rate(X_RateLimit_Credits=credits) is None


@pytest.mark.parametrize(
    ("message", "headers", "seconds"),
    [
        ("Try again after 55 seconds.", {"X-RateLimit-Reset": "7", "Retry-After": "9"}, 55),
        ("slow down", {"X-RateLimit-Reset": "7", "Retry-After": "9"}, 7),
        ("slow down", {"RateLimit-Reset": f"{NOW_S + 30:.0f}"}, 30),
        ("slow down", {"Retry-After": "9"}, 9),
        ("slow down", {"Retry-After": formatdate(NOW_S + 10, usegmt=True)}, 10),
        ("slow down", {"Retry-After": formatdate(NOW_S - 10, usegmt=True)}, 0),
        ("slow down", {"Retry-After": "86400"}, 3600),
        ("in 999999999 seconds", {}, 3600),
        ("slow down", {"Retry-After": "later"}, None),
        ("slow down", {}, None),
    ],
)
def test_the_wait_of_a_429(message: str, headers: dict[str, str], seconds: float | None) -> None:
    """By its words, then its headers; None where it names no time."""
    assert retry_after_s(message, CaseInsensitiveDict(headers), NOW_S) == seconds
