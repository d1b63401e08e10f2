# SPDX-License-Identifier: Apache-2.0
"""Numbers that somebody else wrote."""

from __future__ import annotations

import pytest

from backlotfs.untrusted_numbers import decimal_number, whole_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("42", 42),
        (" 42\t", 42),
        ("000000000000000000000007", 7),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_whole_numbers(text: str, number: int) -> None:
    """Digits, with white space around them and zeros before."""
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    [None, "", "-1", "+1", "1_0", "1.0", "0x1", "٣", "1\n2", str(2**63), "9" * 5000, "0" * 10**6],
)
def test_no_whole_numbers(text: str | None) -> None:
    """Anything else is none, and costs no time."""
    assert whole_number(text) is None


def test_a_bound() -> None:
    """Above it is none."""
    assert (whole_number("10", most=10), whole_number("11", most=10)) == (10, None)
    assert (decimal_number("1.5", most=2), decimal_number("2.5", most=2)) == (1.5, None)


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("1.25", 1.25), (" 60 ", 60.0)])
def test_decimal_numbers(text: str, number: float) -> None:
    """With or without a fraction."""
    assert decimal_number(text) == number


@pytest.mark.parametrize("text", [None, "", ".5", "1.", "1e9", "nan", "inf", "-1", "9" * 5000])
def test_no_decimal_numbers(text: str | None) -> None:
    """Nothing that float() takes beside."""
    assert decimal_number(text) is None
