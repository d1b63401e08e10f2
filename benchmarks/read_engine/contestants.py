# SPDX-License-Identifier: Apache-2.0
"""Who is compared: backlotfs without flags, rclone as it comes and as its manual tunes it."""

from __future__ import annotations

from typing import NamedTuple


class Contestant(NamedTuple):
    """One way to mount.

    :ivar flags: rclone's; ours has none.
    :ivar caches: keeps what it read on disk, so that a later mount has it.
    """

    name: str
    flags: tuple[str, ...] = ()
    caches: bool = False


def _streams(count: int, size: str) -> tuple[str, ...]:
    streams, chunk = f"--vfs-read-chunk-streams={count}", f"--vfs-read-chunk-size={size}"
    return (streams, chunk, "--buffer-size=0")


OURS = Contestant("backlotfs", caches=True)
RCLONE = Contestant("rclone")
RCLONE_8X16 = Contestant("rclone-8x16M", _streams(8, "16M"))
RCLONE_16X4 = Contestant("rclone-16x4M", _streams(16, "4M"))
RCLONE_FULL = Contestant("rclone-full", ("--vfs-cache-mode=full",), caches=True)
TUNED = (RCLONE_8X16, RCLONE_16X4)
#: Programs that are given every URL or name in advance, and copy without a mount.
ARIA2C = Contestant(
    "aria2c x16",
    (
        *("--max-concurrent-downloads=16", "--max-connection-per-server=16", "--split=16"),
        *("--min-split-size=1M", "--file-allocation=none", "--quiet"),
    ),
)
RCLONE_COPY = Contestant(
    "rclone copy",
    ("--transfers=16", "--checkers=16", "--multi-thread-streams=16", "--multi-thread-cutoff=32M"),
)
DOWNLOADERS = (ARIA2C, RCLONE_COPY)
PEERS = (RCLONE, *TUNED, RCLONE_FULL)
