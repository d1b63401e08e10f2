# SPDX-License-Identifier: Apache-2.0
"""The origin of the soak: what goes wrong, how often."""

from __future__ import annotations

from backlotfs.emulator import Emulator, Fault

URL_LIFE_S = 20.0
STALL_S = 20.0
#: Seconds that the API's 429 ask to wait.
RATE_LIMITED_S = 2

#: Of all ranged GETs of a source.
SOURCE_FAULTS = (
    (Fault.reset(100_000), 0.02),
    (Fault.of("slow_down"), 0.01),
    (Fault.short_body(50_000), 0.01),
    (Fault.stall(1000, STALL_S), 0.005),
    (Fault.of("wrong_range"), 0.005),
    (Fault.of("whole_object"), 0.005),
    # right answers in other forms
    (Fault.short_range(200_000), 0.02),
    (Fault.other_length(5000), 0.01),
    (Fault.of("wide_range", step_bytes=1_000_000), 0.01),
    (Fault.of("unknown_total"), 0.01),
    (Fault.of("odd_range"), 0.01),
    (Fault.of("no_length"), 0.01),
    (Fault.content_encoding("aws-chunked"), 0.01),
    (Fault.of("early_hints"), 0.01),
)
#: Of all calls of these routes of the API.
API_FAULTS = ((Fault.of("html_500"), 0.025), (Fault.rate_limited(RATE_LIMITED_S), 0.025))
CALLS = ("streams", "assets", "deleted_assets")
#: All the time.
NODES = Fault.nodes(3)
#: All that a run of some length has met.
KINDS = (*(fault.kind for fault, _ in SOURCE_FAULTS + API_FAULTS), NODES.kind)


def spoil(emulator: Emulator) -> None:
    """From now on."""
    emulator.faults.add(NODES, route="source")
    for fault, probability in SOURCE_FAULTS:
        emulator.faults.add(fault, route="source", probability=probability)
    for route in CALLS:
        for fault, probability in API_FAULTS:
            emulator.faults.add(fault, route=route, probability=probability)
