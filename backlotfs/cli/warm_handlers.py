"""What a running mount answers to ``warm``: how much of a file is held, and one step further.

The command asks step by step. So whoever ends it ends the warming, and nothing has to be kept of it
here: the disk tier knows how far it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backlotfs.clock import Deadline, SystemClock
from backlotfs.control.server import Handler
from backlotfs.errors import ContentChanged
from backlotfs.remote.identity import SourceIdentity
from backlotfs.waiting import Waiter
from backlotfs.wiring import Stack

#: One step ends within this; the command waits a little longer.
STEP_S = 60.0


def warm_handlers(stack: Stack) -> Mapping[str, Handler]:
    """``held`` and ``warm``, each of a ``path`` inside the mount (``/label/file.mov``)."""

    def held(request: dict[str, Any]) -> dict[str, Any]:
        if stack.namespace.is_made(str(request["path"])):
            return {"made": True}  # by the mount, of what it knows: never fetched
        identity = _identity(stack, request, _waiter())
        if request.get("settle"):
            stack.warmer.settle()
        return {
            "id": identity.embed_code,
            "version": identity.validator,
            "size": identity.size,
            "held": stack.warmer.held_bytes(identity),
            "pinned": stack.keeper.pins.of(identity.embed_code) is not None,
            "room": stack.warmer.room_bytes - stack.keeper.pins.needed_bytes,
            "block": stack.warmer.block_bytes,
        }

    def warm(request: dict[str, Any]) -> dict[str, Any]:
        waiter = _waiter()
        identity = _identity(stack, request, waiter)
        if identity.validator != request["version"]:
            raise ContentChanged(f"{request['path']} was replaced meanwhile: warm it again")
        step = stack.warmer.warm(identity, int(request["offset"]), int(request["length"]), waiter)
        return step._asdict()

    return {"held": held, "warm": warm}


def _identity(stack: Stack, request: dict[str, Any], waiter: Waiter) -> SourceIdentity:
    return stack.namespace.open(str(request["path"]), waiter).identity


def _waiter() -> Waiter:
    return Waiter(Deadline(STEP_S, SystemClock()), lambda: False)
