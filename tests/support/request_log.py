# SPDX-License-Identifier: Apache-2.0
"""Reading the emulator's request log after an action, once what it is asked about is written.

A client has its answer before the server has noted the last bytes, the status of a request beside
it, or the end. So a test that looks at statuses, bytes or counts calls `ended_requests` instead of
``emulator.requests.entries`` and ``count``. Only where a fault holds requests up, and they do not
end, a test looks at the log itself: it waits with ``emulator.requests.wait_for`` until they came.
"""

from __future__ import annotations

from collections import Counter

from backlotfs.emulator import EmulatedAsset, Emulator, RequestEntry, RequestLog

#: For the last request to end, on a machine that does other things too.
WITHIN_S = 60.0


def ended_requests(
    emulator: Emulator,
    *,
    route: str | None = None,
    embed_code: str | None = None,
    status: int | None = None,
) -> list[RequestEntry]:
    """Wait until no request of this route and asset is under way; return those that fit.

    :param status: only those answered so; requests with other answers are waited for as well.
    :return: copies of the entries, oldest first; all of them have ended.
    :raises TimeoutError: one does not end in `WITHIN_S` seconds.
    """
    fitting: list[RequestEntry] = []

    def ended(log: RequestLog) -> bool:
        begun = log.entries(route=route, embed_code=embed_code)
        fitting[:] = [entry for entry in begun if status is None or entry.status == status]
        return all(entry.ended for entry in begun)

    emulator.requests.wait_for(ended, timeout_s=WITHIN_S)
    return fitting


def calls_by_window(emulator: Emulator, window_s: float) -> Counter[int]:
    """The API calls in each window of the server; each begins with its first call."""
    found: Counter[int] = Counter()
    began_s, number = -window_s, 0
    for at_s in sorted(
        entry.started_s
        for entry in emulator.requests.entries()
        if entry.host == "api" and entry.route != "source"
    ):
        if at_s >= began_s + window_s:
            began_s, number = at_s, number + 1
        found[number] += 1
    return found


def bytes_sent(emulator: Emulator, *assets: EmulatedAsset) -> int:
    """Bytes that the origin has sent of these sources, without the one byte of each probe."""
    return sum(
        entry.bytes_sent
        for asset in assets
        for entry in ended_requests(emulator, route="source", embed_code=asset.embed_code)
        if entry.range_header != "bytes=0-0"
    )
