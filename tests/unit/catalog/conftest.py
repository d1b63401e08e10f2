# SPDX-License-Identifier: Apache-2.0
"""A catalog whose database is closed when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.catalog.synced import SyncedCatalog


@pytest.fixture
def synced(tmp_path: Path) -> Iterator[SyncedCatalog]:
    """Over a database in a folder of its own."""
    found = SyncedCatalog(tmp_path)
    yield found
    found.db.close()
