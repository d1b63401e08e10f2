"""Where a block was found that a read asked for."""

from __future__ import annotations

from typing import Final

#: In memory when it was asked for: read ahead, or read before.
MEMORY: Final = 0
#: In the disk tier.
DISK: Final = 1
#: Neither: the read waited for the source host, be it for a GET that was under way already.
NETWORK: Final = 2

#: In this order.
TIERS: Final = ("memory", "disk", "network")
