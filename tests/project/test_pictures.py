# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/images that ``make screenshot`` draws: they show what the program is now."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import live_picture, sizes_picture
from tests.unit.cli.made_answers import drawn, watched

_MATPLOTLIB = re.compile(r"Matplotlib v[\d.]+")


def said(svg: str) -> str:
    """The texts of a picture, with ordinary spaces."""
    found = re.findall(r"<text [^>]*>(.*?)</text>", svg)
    return html.unescape("\n".join(found)).replace("\xa0", " ")


def test_the_live_view() -> None:
    """Each label of it is in the picture, and nothing of the machine that drew it."""
    shown = said(live_picture.PICTURE.read_text("utf-8"))
    labels = {line[:14].strip() for line in drawn(watched()).splitlines() if line[14:15] == " "}
    plain = {label for label in labels if label.isascii() and label and "(" not in label}
    for label in plain - {"passthrough", "2 min ago"}:
        assert re.search(f"^{label} *$", shown, re.M), f"no {label!r}: make screenshot"
    assert "/tmp/" not in shown


def lines(svg: str) -> list[list[float]]:
    """The coordinates of the lines between the axes."""
    paths = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
    return [
        [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
        for path in paths
        if "clip-path" in path.attrib
    ]


def test_the_sizes_over_time(tmp_path: Path) -> None:
    """Drawn anew it says and shows the same, as far as the same matplotlib draws."""
    kept = sizes_picture.PICTURE.read_text("utf-8")
    sizes_picture.draw(tmp_path / "anew.svg")
    anew = (tmp_path / "anew.svg").read_text("utf-8")
    assert said(kept) == said(anew)
    if _MATPLOTLIB.findall(kept) == _MATPLOTLIB.findall(anew):
        assert len(lines(kept)) == len(sizes_picture.LIBRARIES)
        for before, now in zip(lines(kept), lines(anew), strict=True):
            assert now == pytest.approx(before, abs=0.05), "the limiter changed: make screenshot"


@pytest.mark.parametrize(("files", "minutes"), [(1_000, 4), (10_000, 42), (100_000, 420)])
def test_the_table_beside_it(files: int, minutes: int) -> None:
    """Of docs/first-day.md, which was measured; here as the limiter computes it."""
    assert sizes_picture.known_after_s(files, files) / 60 == pytest.approx(minutes, rel=0.05)
