# SPDX-License-Identifier: Apache-2.0
"""Which assets are presented."""

from __future__ import annotations

import pytest

from backlotfs.catalog.library import AssetFilter

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("types", "statuses", "asset_type", "status", "admitted"),
    [
        (None, NONE, "video", "live", True),
        (None, NONE, "audio", "paused", True),
        (None, NONE, "ad", "", True),
        (None, NONE, "channel", "live", False),
        (None, NONE, "", "live", False),
        (NONE, NONE, "channel", "live", True),
        (frozenset({"ad"}), NONE, "video", "live", False),
        (NONE, frozenset({"live"}), "video", "live", True),
        (NONE, frozenset({"live", "error"}), "video", "paused", False),
    ],
)
def test_admits(
    types: frozenset[str] | None,
    statuses: frozenset[str],
    asset_type: str,
    status: str,
    admitted: bool,
) -> None:
    """Types that have a source, unless others are asked for; any status, unless some are."""
    chosen = AssetFilter(statuses=statuses) if types is None else AssetFilter(types, statuses)
    assert chosen.admits(asset_type, status) is admitted
