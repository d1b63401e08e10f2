# SPDX-License-Identifier: Apache-2.0
"""Leases: of several mounts of one library, one syncs, one probes and one fetches captions.

A lease expires by the wall clock, which is the only clock that all mounts share and that runs
during a suspend. It expires at once if its owner's process has ended, so that a killed mount does
not block the others.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from dataclasses import dataclass, field

from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.concurrency.clock import Clock


def new_owner() -> str:
    """Make a unique name for an owner of leases in this process."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do a job that one mount of a library does at a time. Any thread may call it.

    :ivar name: the name of the job.
    :ivar seconds: its duration after each `take`.
    """

    db: CatalogDb
    name: str
    seconds: float
    owner: str = field(default_factory=new_owner)

    def take(self) -> bool:
        """Take or renew the lease; False while another owner has it."""
        clock = self.db.clock
        if self.db.read(_held_by_other, self.name, self.owner, clock.now()):
            return False  # the usual case takes no lock
        return self.db.write(take, self.name, self.owner, self.seconds, clock)

    def release(self) -> None:
        """Release the lease; do nothing if another owner has it."""
        self.db.write(_release, self.name, self.owner)


def take(
    connection: sqlite3.Connection, name: str, owner: str, seconds: float, clock: Clock
) -> bool:
    """Take or renew a lease in a transaction; False if another owner has it."""
    # Not before the transaction: a lease that another mount took meanwhile would be in the future.
    now_s = clock.now()
    if _held_by_other(connection, name, owner, now_s):
        return False
    connection.execute(
        "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (name, owner, now_s, seconds)
    )
    return True


def _release(connection: sqlite3.Connection, name: str, owner: str) -> None:
    connection.execute("DELETE FROM lease WHERE name = ? AND owner = ?", (name, owner))


def _held_by_other(connection: sqlite3.Connection, name: str, owner: str, now_s: float) -> bool:
    """Whether another owner has the lease. A lease that was taken in the future is ignored."""
    row = connection.execute(
        "SELECT owner FROM lease WHERE name = ? AND owner <> ?"
        " AND taken_at_s <= ? AND taken_at_s + seconds > ?",
        (name, owner, now_s, now_s),
    ).fetchone()
    return row is not None and _lives(row[0])


def _lives(owner: str) -> bool:
    """Whether the owner's process may still run; True for an unknown form of owner.

    A process in another container seems to have ended. Then two mounts may sync, which is safe.
    """
    pid, separator, _ = owner.partition("-")
    if not separator or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
