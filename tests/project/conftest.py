# SPDX-License-Identifier: Apache-2.0
"""The syntax trees of the package are kept for a module of tests, and no longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.project.source_tree import parsed


@pytest.fixture(autouse=True, scope="module")
def _trees_are_kept_for_one_module() -> Iterator[None]:
    """A million objects would slow every garbage collection of the tests that follow."""
    yield
    parsed.cache_clear()
