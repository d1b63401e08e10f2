# SPDX-License-Identifier: Apache-2.0
"""Settings are values that show no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.config.settings import Account, MountSettings, SecretOrigin, default_cdn_url


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


@pytest.mark.parametrize(
    ("origin", "kept"),
    [
        (SecretOrigin.PROFILE, True),
        (SecretOrigin.FILE, True),
        (SecretOrigin.ENVIRONMENT, False),
        (SecretOrigin.COMMAND, False),
        (SecretOrigin.KEYRING, False),
        (SecretOrigin.CREDENTIALS, False),
    ],
)
def test_urls_are_kept_where_the_secret_is_kept(origin: SecretOrigin, *, kept: bool) -> None:
    """In a file of this machine; what is said stands above that."""
    account = Account("http://api", "k", "s", secret_origin=origin)

    def keeps(said: bool | None) -> bool:
        return MountSettings(account, Path("/mnt"), Path("/cache"), keep_urls=said).keeps_urls

    assert keeps(None) is kept
    assert keeps(True)
    assert not keeps(False)
