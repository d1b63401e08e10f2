"""What a running mount answers to ``warm``: how much of a file is held, and one step further.

The command asks step by step. So whoever ends it ends the warming, and nothing has to be kept of it
here: the disk tier knows how far it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import ContentChanged, Interrupted
from backlotfs.mount.control.server import Handler
from backlotfs.mount.stack import Stack
from backlotfs.namespace.tree import codes_below
from backlotfs.source.version import SourceVersion

#: One step ends within this; the command waits a little longer.
STEP_S = 60.0
#: A step that waits for an API credit for so long is answered with that; the command says so.
CREDIT_LOOK_S = 2.0


def warm_handlers(stack: Stack) -> Mapping[str, Handler]:
    """``held`` and ``warm``, each of a ``path`` inside the mount (``/label/file.mov``).

    Where a step waits for an API credit, the answer is ``waiting_s``, the seconds that takes, and
    the command asks again.
    """

    def held(request: dict[str, Any]) -> dict[str, Any]:
        if stack.namespace.is_virtual(str(request["path"])):
            return {"made": True}  # by the mount, of what it knows: never fetched
        identity = _identity(stack, request, _waiter(stack, request))
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
        waiter = _waiter(stack, request)
        identity = _identity(stack, request, waiter)
        if identity.validator != request["version"]:
            raise ContentChanged(f"{request['path']} was replaced meanwhile: warm it again")
        step = stack.warmer.warm(identity, int(request["offset"]), int(request["length"]), waiter)
        return step._asdict()

    def or_waiting(answer: Handler) -> Handler:
        def answered(request: dict[str, Any]) -> dict[str, Any]:
            try:
                return answer(request)
            except Interrupted:
                return {"waiting_s": stack.limiter.status().more_in_s or 1.0}

        return answered

    return {"held": or_waiting(held), "warm": or_waiting(warm)}


def _identity(stack: Stack, request: dict[str, Any], waiter: InterruptibleWait) -> SourceVersion:
    return stack.namespace.open(str(request["path"]), waiter).version


def _waiter(stack: Stack, request: dict[str, Any]) -> InterruptibleWait:
    """Waits for a step, but for an API credit no longer than `CREDIT_LOOK_S`."""
    clock = SystemClock()
    codes = codes_below(stack.namespace.root, str(request["path"]))
    until_s = clock.monotonic() + CREDIT_LOOK_S

    def waits_for_credit() -> bool:
        late = clock.monotonic() >= until_s
        return late and any(stack.probes.is_queued(code) for code in codes)

    return InterruptibleWait(Deadline(STEP_S, clock), waits_for_credit)
