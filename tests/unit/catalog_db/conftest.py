# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a clock that stands still, and databases that are closed afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from backlotfs.catalog.db.connection import CatalogDb
from tests.fakes.clocks import ManualClock
from tests.unit.catalog_db.catalogs import OpenDb, open_db


@pytest.fixture
def clock() -> ManualClock:
    """It moves only when a test says so."""
    return ManualClock()


@pytest.fixture
def reopen(tmp_path: Path, clock: ManualClock) -> Iterator[OpenDb]:
    """Opens the database of ``tmp_path`` as often as wanted: each is another mount of it."""
    with ExitStack() as stack:

        def again(directory: Path = tmp_path, **library: Any) -> CatalogDb:
            return stack.enter_context(closing(open_db(directory, clock, **library)))

        yield again


@pytest.fixture
def db(reopen: OpenDb) -> CatalogDb:
    """An empty database."""
    return reopen()
