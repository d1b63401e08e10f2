# SPDX-License-Identifier: Apache-2.0
"""The address of a proxy, and that nothing shows its password."""

from __future__ import annotations

import pytest

from backlotfs.config.proxy import Proxy, parse_proxy
from backlotfs.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("http://proxy.example:3128", "proxy.example:3128"),
        ("http://proxy.example:3128/", "proxy.example:3128"),
        ("  http://PROXY.example:3128\n", "proxy.example:3128"),
        ("HTTP://proxy.example:80", "proxy.example:80"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("10.1.2.3:8080", "10.1.2.3:8080"),
        ("http://[2001:db8::1]:3128", "[2001:db8::1]:3128"),
        ("http://name:word@proxy:1", "proxy:1"),
        ("name:word@proxy:1", "proxy:1"),
    ],
)
def test_what_is_accepted(text: str, place: str) -> None:
    """Host and port, as curl and browsers take them; its text is never more than these."""
    found = parse_proxy(text, "setting proxy")
    assert str(found) == place
    assert "word" not in f"{found!r}{found}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("socks5://proxy:1080", "is of kind socks5, and only HTTP proxies can be used"),
        ("https://proxy:443", "is of kind https, and only HTTP proxies can be used"),
        ("gopher://proxy:443", "is of another kind, and only HTTP proxies can be used"),
        ("http://", "has no host"),
        (":3128", "has no host"),
        ("http://proxy.example", "has no port"),
        ("proxy.example", "has no port"),
        ("http://proxy:0", "has no port"),
        ("http://proxy:3128/squid", "has a path, and a proxy has none"),
        ("http://proxy:3128?x=1", "has a path, and a proxy has none"),
        ("http://proxy:99999", "is no address of a proxy"),
        ("http://proxy:x", "is no address of a proxy"),
        ("http://[::1:3128", "is no address of a proxy"),
        ("http://pro xy:3128", "is no address of a proxy"),
        ("http://pröxy:3128", "is no address of a proxy"),
    ],
)
def test_what_is_not(text: str, said: str) -> None:
    """The message names the setting, shows the value, and says what to write."""
    with pytest.raises(SettingsError) as caught:
        parse_proxy(text, "setting proxy")
    assert str(caught.value) == (
        f"setting proxy {text!r} {said}; write it like http://proxy.example:3128"
    )


@pytest.mark.parametrize(
    "text",
    ["socks5://name:SECRET@proxy:1080", "http://name:SEC/RET@proxy:1", "http://name:SECRET@",
     "http://name:SEC#RET@proxy:1", "http://name:SECRET@proxy", "http://name:SECRÉT@proxy:1",
     "SECRET://x:y@proxy:1", "http://:SECRET@proxy:1", "http://a%3Ab:SECRET@proxy:1",
     "http://name:SECRET%0d%0aX:@proxy:1", "http://na@me:SECRET@pro xy:1"],
)  # fmt: skip
def test_a_password_is_never_in_a_message(text: str) -> None:
    """Also where the address is cut in the wrong place."""
    with pytest.raises(SettingsError) as caught:
        parse_proxy(text, "setting proxy")
    assert "SEC" not in str(caught.value)
    assert "RET" not in str(caught.value)
    assert "write it like http://" in str(caught.value)


@pytest.mark.parametrize("text", ["http://name:SECRET@proxy:1", "name@proxy:1", "SECRET@"])
def test_what_every_user_can_read_may_hold_no_password(text: str) -> None:
    """An option is in the process list, a line of fstab in a public file."""
    with pytest.raises(SettingsError, match=r"--proxy takes no name and password") as caught:
        parse_proxy(text, "--proxy", public=True)
    assert "SECRET" not in str(caught.value)
    assert 'proxy = "http://NAME:PASSWORD@HOST:PORT"' in str(caught.value)
    assert "BACKLOT_PROXY" in str(caught.value)


def test_what_is_sent_of_a_password() -> None:
    """RFC 7617; the URL's percent-encoding is undone."""
    assert parse_proxy("proxy:1", "x").authorization is None
    found = parse_proxy("http://Aladdin:open%20ses%C3%A4me@proxy:1", "x")
    assert found.authorization == "Basic QWxhZGRpbjpvcGVuIHNlc8OkbWU="
    assert set(found.secrets) == {
        "Aladdin:open sesäme", "open sesäme", "QWxhZGRpbjpvcGVuIHNlc8OkbWU="
    }  # fmt: skip
    assert parse_proxy("http://name@proxy:1", "x").authorization == "Basic bmFtZTo="


@pytest.mark.parametrize(
    "text", ["http://proxy:1", "http://[::1]:1", "http://a%2Fb:p%40ss%20w%C3%B6rd@proxy:1"]
)
def test_the_url_means_the_same_proxy(text: str) -> None:
    """It is written to a profile."""
    found = parse_proxy(text, "x")
    again = parse_proxy(found.url, "x")
    assert (again, again.credentials) == (found, found.credentials)


def test_no_repr_shows_credentials() -> None:
    """Not even that of a value that was made by hand."""
    assert "word" not in repr(Proxy("proxy", 1, b"name:word"))
