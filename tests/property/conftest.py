# SPDX-License-Identifier: Apache-2.0
"""Property tests run without garbage collection, whose moments Hypothesis does not know."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def without_garbage_collection() -> Iterator[None]:
    """Free memory by reference counts only, so that an example runs the same way each time.

    A job that fails while a reader waits on the same thread leaves a cycle of frames, which keeps
    the slots of the block pool until a collection. What is cached would depend on its moment.
    """
    gc.disable()
    yield
    gc.enable()
    gc.collect()
