"""Settings are values that show no secret."""

from __future__ import annotations

import pytest

from backlotfs.settings import Account, default_cdn_url


def test_an_account_shows_no_secret() -> None:
    """Neither its repr nor its name in ``df``."""
    account = Account("https://api.example:8443/x", "key", "s3cret", profile=None)
    assert "s3cret" not in repr(account)
    assert "s3cret" not in account.source


@pytest.mark.parametrize(
    ("account", "source"),
    [
        (Account("https://api.example:8443/x", "k", "s"), "backlot:api.example"),
        (Account("https://api.example", "k", "s", profile="main"), "backlot:main"),
        (Account("http://", "k", "s"), "backlot:library"),
    ],
)
def test_source(account: Account, source: str) -> None:
    """The profile's name, else the host's."""
    assert account.source == source


def test_default_cdn_url() -> None:
    """Only the hosted service had one."""
    assert default_cdn_url("https://API.ooyala.com/") == "https://cdn-api.ooyala.com"
    assert default_cdn_url("http://127.0.0.1:8000") is None
