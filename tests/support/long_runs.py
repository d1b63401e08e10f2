# SPDX-License-Identifier: Apache-2.0
"""How much a test does in `make test`, which people run often, and in `make test-long`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

#: Set by `make test-long`.
LONG_RUNS = "BACKLOTFS_LONG_TESTS"
_SHORTER = 4


def runs(count: int) -> int:
    """So many runs, or examples, in `make test-long`; a quarter of them otherwise."""
    return count if LONG_RUNS in os.environ else -(-count // _SHORTER)


def few_of(values: Iterable[Any], *few: Any) -> list[Any]:
    """Parameters of a test, of which `make test` takes only a few."""
    return [
        value if value in few else pytest.param(value, marks=pytest.mark.long) for value in values
    ]
