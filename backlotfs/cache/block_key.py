"""The name of one block of one version of one source."""

from __future__ import annotations

from typing import NamedTuple


class BlockKey(NamedTuple):
    """Cache key: bytes of a replaced source can never be found under the new version's key."""

    embed_code: str
    validator: str
    number: int
