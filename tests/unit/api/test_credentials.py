"""Credentials keep to themselves."""

from __future__ import annotations

import pytest

from backlotfs.api.signing import Credentials
from backlotfs.errors import SettingsError

KEY, SECRET = "AbCdEfGhIjKlMnOpQrStUvWxYz01.KEYid", "0123456789abcdefghijABCDEFGHIJ-_klmnopqr"


def test_masked_and_account() -> None:
    """Neither the secret nor the key's suffix is in any form of display; the account is."""
    credentials = Credentials(KEY, SECRET)
    for shown in (repr(credentials), str(credentials), f"{credentials}"):
        assert SECRET not in shown
        assert "KEYid" not in shown
        assert credentials.account in shown
    assert credentials.account == "AbCdEfGhIjKlMnOpQrStUvWxYz01"


def test_key_without_a_dot_is_its_own_account() -> None:
    """A key of another shape still has an account to name the catalog by."""
    assert Credentials("7ab06", SECRET).account == "7ab06"


@pytest.mark.parametrize("bad", ["", "with space", "newline\n", "nul\0", "\ud800"])
def test_unusable_values_are_refused_unseen(bad: str) -> None:
    """An empty or torn value is refused by a message that does not hold it."""
    with pytest.raises(SettingsError, match="API secret"):
        Credentials(KEY, bad)
    with pytest.raises(SettingsError, match="API key") as caught:
        Credentials(bad, SECRET)
    assert SECRET not in str(caught.value)
    assert not bad or bad not in str(caught.value)
