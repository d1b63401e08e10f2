# SPDX-License-Identifier: Apache-2.0
"""Whether an origin is as far away as its profile says: what a plain client sees of it."""

from __future__ import annotations

import http.client
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.origin import OriginProfile

_SMALL_RANGE_BYTES = 2**20
#: Timers and a busy machine may add this to a wait.
_LATE_S = 0.015
_EARLY_S = 0.002
_RATE_TOLERANCE = 0.2


class Seen(NamedTuple):
    """By one client on one connection.

    :ivar first_request_s: to the first byte of a new connection's first answer.
    :ivar first_byte_s: to the first byte of its second answer.
    :ivar rate_bytes_s: of a whole file, after its first byte.
    :ivar small_range_s: from that request to the last byte of its answer, 1 MiB.
    """

    first_request_s: float
    first_byte_s: float
    rate_bytes_s: float
    small_range_s: float


def look(url: str) -> Seen:
    """Make three plain requests for the file at ``url``, of 64 MiB or more."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        first_s, _, _ = _get(connection, parts.path, 1)
        small = _get(connection, parts.path, _SMALL_RANGE_BYTES)
        whole = _get(connection, parts.path, 64 * 2**20)
        return Seen(first_s, small[0], whole[2] / whole[1], small[0] + small[1])
    finally:
        connection.close()


def complaints(seen: Seen, profile: OriginProfile) -> list[str]:
    """What is not as the profile says, as sentences. Pure."""
    found = []
    waits = [
        ("a new connection's first byte", seen.first_request_s, profile.first_request_s),
        ("a kept-alive connection's first byte", seen.first_byte_s, profile.first_byte_s),
    ]
    if (rate_bytes_s := profile.rate_bytes_s or profile.line_bytes_s) is not None:
        carried_s = _SMALL_RANGE_BYTES / rate_bytes_s
        waits.append(("1 MiB", seen.small_range_s, profile.first_byte_s + carried_s))
        off = seen.rate_bytes_s / rate_bytes_s - 1
        if abs(off) > _RATE_TOLERANCE:
            found.append(
                f"a connection carries {seen.rate_bytes_s / 1e6:.0f} MB/s instead of "
                f"{rate_bytes_s / 1e6:.0f}"
            )
    for what, took_s, wanted_s in waits:
        if not wanted_s * 0.8 - _EARLY_S <= took_s <= wanted_s + _LATE_S:
            found.append(f"{what} takes {took_s * 1e3:.1f} ms instead of {wanted_s * 1e3:.0f}")
    return found


def require(url: str, profile: OriginProfile) -> None:
    """Go on only if the origin is what it should be.

    :raises SystemExit: it is not, three times in a row.
    """
    found: list[str] = []
    for _ in range(3):  # a busy moment is not a wrong configuration
        found = complaints(look(url), profile)
        if not found:
            return
        time.sleep(1)
    raise SystemExit(f"the origin is not {profile.name}: " + "; ".join(found))


def _get(connection: http.client.HTTPConnection, path: str, size: int) -> tuple[float, float, int]:
    """Seconds to the first byte, seconds after it, bytes."""
    start_s = time.monotonic()
    connection.request("GET", path, headers={"Range": f"bytes=0-{size - 1}"})
    answer = connection.getresponse()
    length = len(answer.read(1))
    first_s = time.monotonic()
    while piece := answer.read(2**20):
        length += len(piece)
    if answer.status != 206 or length != size:
        raise SystemExit(f"the origin answers {answer.status} with {length} bytes to a range")
    return first_s - start_s, max(time.monotonic() - first_s, 1e-6), length
