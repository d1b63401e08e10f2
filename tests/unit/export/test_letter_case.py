"""Names that a destination cannot keep apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.export.items import Item
from backlotfs.export.letter_case import folds_case, kept_apart


def item(name: str) -> Item:
    """A file to be called so."""
    return Item(f"/library/{name}", name, 1, 0)


def test_the_first_of_a_clash_stays() -> None:
    """And the other is told which; folders count, and letters in two spellings."""
    names = ["News/A.mov", "News/a.mov", "a.mov", "news/A.MOV", "\u00e4.mov", "A\u0308.mov"]
    kept, clashing = kept_apart([item(name) for name in names])
    assert [found.name for found in kept] == ["News/A.mov", "a.mov", "\u00e4.mov"]
    assert [problem.name for problem in clashing] == ["News/a.mov", "news/A.MOV", "A\u0308.mov"]
    assert clashing[0].reason.startswith("is the same name as News/A.mov")


def test_a_disk_that_knows_case_is_known_by_trying(tmp_path: Path) -> None:
    """Nothing is left of the trial."""
    assert folds_case(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_is_known_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if any spelling were there."""
    monkeypatch.setattr(Path, "exists", lambda path: any(path.parent.iterdir()))
    assert folds_case(tmp_path) is True
