# SPDX-License-Identifier: Apache-2.0
"""One emulator and one mount for all tests of a module that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support.mounting import Mount


@pytest.fixture(scope="module")
def library_mount(
    request: pytest.FixtureRequest,
    serve: Serve,
    tmp_path_factory: pytest.TempPathFactory,
    fuse_binding: str,
) -> Iterator[Mount]:
    """A mount of the module's ``ASSETS`` with its ``OPTIONS``, if any, shared by its tests."""
    emulator: Emulator = serve(*request.module.ASSETS)
    options: tuple[str, ...] = getattr(request.module, "OPTIONS", ())
    chosen = ("--fuse-binding", fuse_binding, *options)
    with Mount(emulator, tmp_path_factory.mktemp("shared"), *chosen) as mount:
        yield mount
