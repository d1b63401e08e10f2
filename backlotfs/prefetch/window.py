"""How far ahead and in how large requests: what a line needs, what a reader needs, who gets what.

A connection that makes requests of ``q`` bytes over a line of latency ``l`` and rate ``r`` carries
``q / (l + q / r)``. Requests are made so large that latency costs about a third of the time, and
the window holds as many of them as it takes to carry the line's total twice over: one that held
just the total would never find out that there is more.

A reader that takes its time needs less than the line could bring: its own pace, for as long as a
hiccup of the line may last. All pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from backlotfs.source.timed_get import HostStats

MIB = 1024 * 1024
#: One GET of a grown window carries at least this: below, its fixed cost in CPU shows …
MIN_GROWN_REQUEST_BYTES = 2 * MIB
#: … and at most this much, so that a connection is soon free for what is more urgent.
MAX_REQUEST_BYTES = 8 * MIB
#: A GET costs a fraction of a millisecond of CPU, so it should last at least this long.
WORTHWHILE_S = 0.016
#: Requests in a window, whatever the estimate says: it may stem from a time when little was asked …
MIN_IN_FLIGHT = 22
#: … but where the latency is below `NEAR_S`, few fill the line, and the processor's cache has more
#: of a small window.
MIN_IN_FLIGHT_NEAR = 8
NEAR_S = 0.003
#: More connections to one source than this are never needed.
MAX_IN_FLIGHT = 32
#: A hiccup of the line that a reader with a pace of its own must not notice, in seconds …
HICCUP_S = 0.5
#: … and in latencies.
HICCUP_LATENCIES = 4.0


class WindowTarget(NamedTuple):
    """What a reader that takes all it can get needs.

    :ivar window_bytes: ahead of it. :ivar request_bytes: in each GET, a power of two.
    """

    window_bytes: int
    request_bytes: int


#: Of a line that nothing is known of: a fast connection with a far end.
UNKNOWN_LINE = WindowTarget(64 * MIB, 4 * MIB)


def window_target(line: HostStats | None) -> WindowTarget:
    """What it takes to use ``line`` fully."""
    if line is None or line.connection_bytes_per_s <= 0:
        return UNKNOWN_LINE
    rate = line.connection_bytes_per_s
    request = power_of_two(int(2 * line.latency_s * rate / 2**0.5))
    request = max(request, power_of_two(int(rate * WORTHWHILE_S / 2**0.5)))
    request = max(MIN_GROWN_REQUEST_BYTES, min(MAX_REQUEST_BYTES, request))
    carried = request / (line.latency_s + request / rate)
    wanted = round(2 * line.total_bytes_per_s / carried)
    least = MIN_IN_FLIGHT if line.latency_s > NEAR_S else MIN_IN_FLIGHT_NEAR
    in_flight = max(least, min(MAX_IN_FLIGHT, wanted))
    return WindowTarget((in_flight + 1) * request, request)


def paced_window(bytes_per_s: float, latency_s: float) -> int:
    """The window of a reader that takes this much, however fast the line is."""
    return int(bytes_per_s * (HICCUP_S + HICCUP_LATENCIES * latency_s))


def fair_cap(needs: Iterable[int], budget_bytes: int) -> int:
    """The largest cap under which windows of these ``needs`` stay within the budget together.

    Who needs less than an equal share leaves the rest to the others. Without anyone in need: all.
    """
    rising = sorted(needs)
    left = budget_bytes
    for index, need in enumerate(rising):
        share = left // (len(rising) - index)
        if need > share:
            return share
        left -= need
    return max(budget_bytes, 0)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less; at least 1."""
    return 1 << max(0, number - 1).bit_length()
