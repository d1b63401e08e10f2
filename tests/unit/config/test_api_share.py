# SPDX-License-Identifier: Apache-2.0
"""What is a share of the account's API calls."""

from __future__ import annotations

from fractions import Fraction

import pytest

from backlotfs.config.api_share import parse_named_shares, parse_share, share_of
from backlotfs.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("1/100", Fraction(1, 100)),
        (" 1/1 ", Fraction(1)),
        ("2.5%", Fraction(1, 40)),
        ("100%", Fraction(1)),
        *((text, None) for text in ("0/3", "3/2", "1/0", "0%", "101%", "0.5", "half", "", "-1/2")),
    ],
)
def test_a_share(text: str, share: Fraction | None) -> None:
    """A fraction or a percentage, above nothing and at most all."""
    assert parse_share(text) == share


def test_names_of_the_profile() -> None:
    """A name stands for its share; an unknown one is refused with those that are known."""
    named = parse_named_shares({"farm": "1/100", "edit": "20%"})
    assert named == {"farm": Fraction(1, 100), "edit": Fraction(1, 5)}
    assert share_of("farm", named) == Fraction(1, 100)
    assert share_of("1/2", named) == Fraction(1, 2)
    with pytest.raises(
        SettingsError, match=r"'frm' is no share .* a name of the profile: farm, edit"
    ):
        share_of("frm", named)


@pytest.mark.parametrize("value", [[], "1/2", {"farm": 0.5}, {"farm": "2/1"}, {"a b": "1/2"}])
def test_a_setting_that_is_none(value: object) -> None:
    """It says how to write one."""
    with pytest.raises(SettingsError, match="setting api_shares must be a table of shares"):
        parse_named_shares(value)
