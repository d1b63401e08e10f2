"""A Backlot-compatible server over a folder of media or a made-up library: API and source side.

It imports nothing from the rest of backlotfs, so that it can disagree with the client. Needs the
extra ``emulator`` (aiohttp).

::

    with Emulator(Library.from_folder("/media")) as emulator:
        print(emulator.api_url, emulator.api_key)

Way of a request: ``connections`` → ``dispatch`` (log, rate limit, faults) → ``api`` or
``sources`` (which decide an ``Answer`` and know no socket) → ``transfer``.
"""

from backlotfs.emulator.assets import (
    BytesContent,
    Content,
    EmulatedAsset,
    EmulatedLabel,
    FileContent,
    SyntheticContent,
)
from backlotfs.emulator.faults import Fault, FaultPlan, FaultRule
from backlotfs.emulator.library import Library
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.server import Emulator
from backlotfs.emulator.settings import EmulatorSettings

__all__ = [
    "BytesContent",
    "Content",
    "EmulatedAsset",
    "EmulatedLabel",
    "Emulator",
    "EmulatorSettings",
    "Fault",
    "FaultPlan",
    "FaultRule",
    "FileContent",
    "Library",
    "RequestEntry",
    "RequestLog",
    "SyntheticContent",
]
