"""Signed URLs: byte for byte inside, never shown outside."""

from __future__ import annotations

import pytest

from backlotfs.api.records import SignedUrl, Source
from backlotfs.errors import ProtocolViolation

PATH = "cms.ooyala.com/EMBEDCODEexample-000000000000_01%2F0000000000000-0000000400867"
URL = (
    f"http://{PATH}?Signature=t0507XL8IID0QOWlqNLQbSEhniU%3D&Expires=1893456000"
    "&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&"
)


def test_kept_shown_and_compared() -> None:
    """The URL is kept to the last stray ``&``; only host and path are ever shown."""
    url = SignedUrl.parse(URL)
    assert url.url == URL
    assert url.expires_at_s == 1893456000.0
    assert url.identity == PATH
    for shown in (str(url), repr(url), f"{url}", repr(Source(url, 1))):
        assert "t0507" not in shown
        assert "Signature" not in shown
        assert f"{PATH}?<redacted>" in shown
    again = SignedUrl.parse(URL.replace("t0507", "XXXXX"))
    assert url != again
    assert url.identity == again.identity
    assert url == SignedUrl(URL)


@pytest.mark.parametrize(
    ("query", "expires_at_s"),
    [
        ("", None),
        ("Expires=", None),
        ("Expires=soon", None),
        ("Expires=-5", None),
        ("Expires=inf", None),
        ("Expires=nan", None),
        ("Expires=" + "9" * 500, None),
        ("Expires=20&Expires=10", 10.0),
        ("expires=7.5", 7.5),
        ("&".join(f"a{n}=1" for n in range(200)) + "&Expires=5", None),
    ],
)
def test_expires(query: str, expires_at_s: float | None) -> None:
    """Whatever ``Expires`` says, it becomes a sane time or none."""
    assert SignedUrl.parse(f"http://h/p?{query}").expires_at_s == expires_at_s


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "/relative?Signature=SECRETsig",
        "ftp://h/p?Signature=SECRETsig",
        "http:///p?Signature=SECRETsig",
        "http://[::1/p?Signature=SECRETsig",
        "http://h:99999/p?Signature=SECRETsig",
        "http://h:0/p?Signature=SECRETsig",
        "http://user:word@h/p?Signature=SECRETsig",
        "http://h/p?Signature=SECRETsig\r\nHost: evil",
        "http://h/p q?Signature=SECRETsig",
        "http://h/pä?Signature=SECRETsig",
        "http://h/p?Signature=SECRETsig" + "x" * 20_000,
    ],
)
def test_unusable_urls_are_refused_unseen(bad: str) -> None:
    """A URL that cannot be sent as it stands is refused, and the error does not hold it."""
    with pytest.raises(ProtocolViolation) as caught:
        SignedUrl.parse(bad)
    error = caught.value
    assert "SECRETsig" not in str(error)
    assert error.__context__ is None
