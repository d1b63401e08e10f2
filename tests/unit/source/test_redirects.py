# SPDX-License-Identifier: Apache-2.0
"""Where a redirect is followed to, and where it is not."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import InvalidRangeResponse
from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.source.signed_get import MAX_REDIRECTS, RedirectChain

SIGNED = "http://origin.example/a%2Fb?Signature=SIGN&"


def chain(start: str = SIGNED, *allowed: str) -> RedirectChain:
    """Of one GET."""
    return RedirectChain(start, SourcePolicy.of("https://api.example", allowed))


@pytest.mark.parametrize(
    ("start", "location", "target"),
    [
        (SIGNED, "/moved%2Fto?n=x&", "http://origin.example/moved%2Fto?n=x&"),
        (SIGNED, "http://origin.example/m//%7e?x=&&", "http://origin.example/m//%7e?x=&&"),
        (SIGNED, "HTTP://ORIGIN.EXAMPLE:80/m", "HTTP://ORIGIN.EXAMPLE:80/m"),
        (SIGNED, "//origin.example/m?", "http://origin.example/m?"),
        (SIGNED, "http://origin.example./m", "http://origin.example./m"),
        (SIGNED, "https://origin.example/m", "https://origin.example/m"),
        ("https://h:8443/a", "/b", "https://h:8443/b"),
        (SIGNED, "http://media.lan:81/m", "http://media.lan:81/m"),
        (SIGNED, "https://media.lan/m", "https://media.lan/m"),
        (SIGNED, "http://10.1.2.3/m", "http://10.1.2.3/m"),
    ],
)
def test_followed(start: str, location: str, target: str) -> None:
    """The same host, up to TLS, and hosts that are listed; byte for byte."""
    hops = chain(start, "media.lan", "10.1.0.0/16")
    assert hops.url == start
    hops.follow(location)
    assert hops.url == target


@pytest.mark.parametrize(
    ("start", "location"),
    [
        (SIGNED, "http://elsewhere.example/a"),
        (SIGNED, "//elsewhere.example/a"),
        (SIGNED, "http://origin.example:81/a"),
        (SIGNED, "https://origin.example:8443/a"),
        (SIGNED, "http://origin.example.evil.example/a"),
        (SIGNED, "http://127.0.0.1/a"),
        (SIGNED, "http://169.254.169.254/latest/meta-data"),
        ("https://origin.example/a", "http://origin.example/a"),
        ("https://origin.example/a", "http://media.lan/a"),
    ],
)
def test_refused(start: str, location: str) -> None:
    """Another host or port, and down from TLS even to a listed host: EACCES, no query shown."""
    hops = chain(start, "media.lan")
    with pytest.raises(SourceRefused, match="not followed") as caught:
        hops.follow(location)
    assert caught.value.errno == errno.EACCES
    assert "SIGN" not in str(caught.value)
    assert hops.url == start


@pytest.mark.parametrize(
    "location",
    ["", "file:///etc/passwd", "ftp://origin.example/a", "javascript:1", "http://[",
     "http://origin.example/\u20ac", "http://u:p@origin.example/",
     "data:,x", "http://origin.example:x/", "gopher://origin.example/", "/a\nX: y", "x" * 20_000],
)  # fmt: skip
def test_no_url(location: str) -> None:
    """Other schemes, names and passwords, and what cannot be sent: a false answer."""
    with pytest.raises(InvalidRangeResponse, match="no usable URL"):
        chain().follow(location)


def test_a_circle() -> None:
    """To where we were already: left at once."""
    hops = chain()
    hops.follow("/b")
    with pytest.raises(InvalidRangeResponse, match="circle"):
        hops.follow(SIGNED)
    with pytest.raises(InvalidRangeResponse, match="circle"):
        hops.follow("/b")


def test_too_many() -> None:
    """New places for ever are a circle, too."""
    hops = chain()
    for number in range(MAX_REDIRECTS):
        hops.follow(f"/{number}")
    with pytest.raises(InvalidRangeResponse):
        hops.follow("/one-more")


def test_back_from_a_listed_host() -> None:
    """The signed URL's own host may be come back to; no third one is opened by the second."""
    hops = chain(SIGNED, "media.lan")
    hops.follow("http://media.lan/a")
    hops.follow("http://origin.example/other")
    hops.follow("http://media.lan/b")
    with pytest.raises(SourceRefused):
        hops.follow("http://third.lan/")


@given(
    st.text(max_size=30)
    | st.builds(
        "{}//{}/{}".format,
        st.sampled_from(["http:", "https:", "", "HTTP:", "file:"]),
        st.text("origin.example@:[]0189", max_size=20) | st.just("origin.example"),
        st.text(max_size=10),
    ),
    st.sampled_from(["http", "https"]),
)
def test_never_elsewhere(location: str, scheme: str) -> None:
    """Whatever a host writes: refused, or one of three origins, and never down from TLS."""
    hops = chain(f"{scheme}://origin.example/a?s=SIGN")
    try:
        hops.follow(location)
    except (InvalidRangeResponse, SourceRefused):
        return
    begin = hops.url.lower()[: len(scheme) + len("s://origin.example")]
    assert begin.startswith((f"{scheme}://origin.example", "https://origin.example"))
