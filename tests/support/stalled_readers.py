# SPDX-License-Identifier: Apache-2.0
"""Readers that hang: processes that ask for bytes the origin does not send."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backlotfs.emulator import EmulatedAsset, Emulator, Fault, FaultRule
from tests.support.deadlines import wait_until

_BLOCK_BYTES = 4096


def stall_source(emulator: Emulator, asset: EmulatedAsset) -> FaultRule:
    """From now on the source of ``asset`` sends headers and no byte, until the rule is released."""
    return emulator.faults.add(Fault.stall(), route="source", embed_code=asset.embed_code)


@contextlib.contextmanager
def readers(path: Path, offsets: list[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """One process per offset, each reading a page there and ending; what is left is killed.

    Processes, because a thread that waits in the kernel would take the whole test run with it.
    """
    started = [
        subprocess.Popen(
            [
                "dd", f"if={path}", "of=/dev/null", f"bs={_BLOCK_BYTES}", "count=1",
                f"skip={offset // _BLOCK_BYTES}", "status=none",
            ],
            stderr=subprocess.DEVNULL,
        )
        for offset in offsets
    ]  # fmt: skip  # one program's arguments
    try:
        yield started
    finally:
        for reader in started:
            reader.kill()
        for reader in started:
            reader.wait()


def wait_until_reading(path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """Return once each of these readers has the file open, which it does just before it reads.

    :raises AssertionError: one does not come to.
    """
    standard_input = "/proc/{}/fd/0"  # where dd has what it reads
    for reader in started:
        link = standard_input.format(reader.pid)
        wait_until(lambda link=link: os.readlink(link) == os.fspath(path), "a reader to read")  # type: ignore[misc]  # bound now


def wait_until_stalled(emulator: Emulator, asset: EmulatedAsset, count: int = 1) -> None:
    """Return once so many GETs of the source hang. :raises TimeoutError: they do not."""
    emulator.requests.wait_for(
        lambda log: (
            sum(e.fault == "stall" for e in log.entries(embed_code=asset.embed_code)) >= count
        ),
        timeout_s=90,
    )
