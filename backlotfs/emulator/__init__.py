# SPDX-License-Identifier: Apache-2.0
"""A Backlot-compatible server for a folder of media or a synthetic library: API and source host.

It imports nothing from the rest of backlotfs, so a mistake of the client cannot be in the server
too. It needs the extra ``emulator`` (aiohttp).

::

    with Emulator(Library.from_folder("/media")) as emulator:
        print(emulator.api_url, emulator.api_key)

The path of a request: ``connections`` → ``dispatch`` (log, faults, rate limit) → ``api`` or
``sources`` (which return an ``Answer`` and know no socket) → ``transfer`` (sends it).
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
