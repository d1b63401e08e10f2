"""How fast a source host has answered lately, as prefetch and disk admission are told."""

from __future__ import annotations

from typing import NamedTuple


class HostStats(NamedTuple):
    """The latency and the rates measured on the connections to one source host.

    :ivar latency_s: from a request to its first byte, on a connection kept alive.
    :ivar connection_bytes_per_s: of one connection, while bytes flow.
    :ivar total_bytes_per_s: of all connections together, as lately achieved.
    """

    latency_s: float
    connection_bytes_per_s: float
    total_bytes_per_s: float
