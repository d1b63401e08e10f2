# SPDX-License-Identifier: Apache-2.0
"""A library of a few files whose mounts share one cache folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import EmulatedAsset
from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import KeptLibrary

#: Assets in, a library without any mount yet out; keywords are fields of `EmulatorSettings`.
Keep = Callable[..., KeptLibrary]


@pytest.fixture
def keep(serve: Serve, mounted: MountIt, tmp_path: Path) -> Keep:
    """Makes libraries with a cache folder each."""

    def start(*assets: EmulatedAsset, **how: Any) -> KeptLibrary:
        folder = tmp_path / f"library-{len(list(tmp_path.glob('library-*')))}"
        folder.mkdir()
        return KeptLibrary(assets, folder, serve, mounted, **how)

    return start
