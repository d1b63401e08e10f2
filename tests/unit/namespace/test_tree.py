# SPDX-License-Identifier: Apache-2.0
"""What is at a path, and at which paths an asset is."""

from __future__ import annotations

import pytest

from backlotfs.api.records import Label
from backlotfs.catalog.db.table import AssetTable
from backlotfs.config.settings import NameMode
from backlotfs.errors import NoSuchEntry, NotADirectory
from backlotfs.namespace.layouts import build
from backlotfs.namespace.tree import codes_below, node_at, paths_of
from tests.fakes.records import row

ROWS = AssetTable([row("E1", "a.mov"), row("E2", "b.mov"), row("E3", "c.mov")])
LABELS = [Label("L1", "News", "/News", None), Label("L2", "Old", "/News/Old", "L1")]
MEMBERS = {"L1": ["E1"], "L2": ["E1", "E2"]}
ROOT = build(["labels"], ROWS, LABELS, MEMBERS, names=NameMode.ORIGINAL).root


def test_below_a_path() -> None:
    """A file is below itself; an asset of two folders counts once."""
    assert codes_below(ROOT, "/News/a.mov") == {"E1"}
    assert codes_below(ROOT, "/News/Old") == {"E1", "E2"}
    assert codes_below(ROOT, "/News") == {"E1", "E2"}
    assert codes_below(ROOT, "/") == {"E1", "E2", "E3"}


def test_paths_that_lead_nowhere() -> None:
    """As the kernel would be told."""
    with pytest.raises(NoSuchEntry):
        codes_below(ROOT, "/News/c.mov")
    with pytest.raises(NotADirectory):
        node_at(ROOT, "/News/a.mov/b")


def test_every_place_of_some() -> None:
    """Those that are in no folder are left out."""
    assert paths_of(ROOT, {"E1", "E3", "E9"}) == {
        "E1": ["/News/Old/a.mov", "/News/a.mov"],
        "E3": ["/Unlabeled/c.mov"],
    }
