# SPDX-License-Identifier: Apache-2.0
"""What options take, as people write it."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.cli.param_types import Duration, Layouts, Octal, Part, Size
from backlotfs.config.settings import Quota


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("4096", 4096), ("4096B", 4096), ("64M", 64 << 20), ("64m", 64 << 20),
        ("64MB", 64 << 20), ("64MiB", 64 << 20), ("1.5G", 3 << 29), (" 2 K ", 2048),
        ("1T", 1 << 40),
    ],
)  # fmt: skip
def test_sizes(text: str, value: int) -> None:
    """Powers of 1024, whatever the spelling."""
    assert Size().convert(text, None, None) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("80%", Quota(0.8)), ("0 %", Quota(0.0)), ("100%", Quota(1.0)), ("2K", Quota(size=2048))],
)
def test_parts(text: str, value: Quota) -> None:
    """A share, or a size."""
    assert Part().convert(text, None, None) == Part().convert(value, None, None) == value


@pytest.mark.parametrize("text", ["101%", "%", "-1%", "half"])
def test_no_parts(text: str) -> None:
    """Refused, with how to write one or why."""
    with pytest.raises(click.BadParameter, match=r"more than 100%|is not a size"):
        Part().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0), ("30", 30.0), ("90s", 90.0), ("5m", 300.0), ("1.5h", 5400.0),
        ("72h", 259200.0), ("2d", 172800.0), ("250ms", 0.25), ("5 M", 300.0),
    ],
)  # fmt: skip
def test_durations(text: str, value: float) -> None:
    """Seconds."""
    assert Duration().convert(text, None, None) == value


@pytest.mark.parametrize(("text", "value"), [("022", 0o22), ("0", 0), ("777", 0o777), ("77", 0o77)])
def test_umasks(text: str, value: int) -> None:
    """Octal, as everywhere."""
    assert Octal().convert(text, None, None) == value


def test_layouts() -> None:
    """One or several, each once, in the order given."""
    assert Layouts().convert("flat", None, None) == ("flat",)
    assert Layouts().convert("labels,dates,labels", None, None) == ("labels", "dates")
    assert Layouts().convert(("by-id",), None, None) == ("by-id",)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (Size(), ["", "M", "-1", "1,5G", "1P", "64 M B", "1e3", "٣"]),
        (Duration(), ["", "m", "-5m", "5 minutes", "1h30m", "inf"]),
        (Octal(), ["", "8", "1000", "-1", "rwx", "0x1f"]),
        (Layouts(), ["", "Flat", "flat,", "tree"]),
    ],
)
def test_what_is_none(kind: click.ParamType, texts: list[str]) -> None:  # type: ignore[type-arg]  # not generic before click 8.4
    """The message shows how it is written."""
    for text in texts:
        with pytest.raises(click.BadParameter, match="is not a"):
            kind.convert(text, None, None)


def test_durations_beyond_their_limits() -> None:
    """The message has the limit."""
    kind = Duration(1.0, 86_400.0)
    assert kind.convert("24h", None, None) == 86_400.0
    for text, limit in (("0.9s", "the minimum is 1s"), ("25h", "the maximum is 24h")):
        with pytest.raises(click.BadParameter, match=limit):
            kind.convert(text, None, None)


def test_defaults_pass_through() -> None:
    """As click hands them over."""
    assert Size().convert(5, None, None) == 5
    assert Duration().convert(5, None, None) == 5.0
    assert Octal().convert(0o22, None, None) == 0o22


@given(st.text(max_size=12))
def test_no_text_breaks_them(text: str) -> None:
    """A value or a usage error."""
    for kind in (Size(), Duration(), Octal(), Layouts()):
        try:
            kind.convert(text, None, None)
        except click.BadParameter:
            continue
