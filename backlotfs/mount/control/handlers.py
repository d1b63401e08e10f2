"""What a running mount answers to the commands that ask it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backlotfs.cache.memory import TIERS
from backlotfs.config.settings import MountSettings
from backlotfs.mount.control.pin import pin_handlers
from backlotfs.mount.control.server import Handler
from backlotfs.mount.control.thumbnails import preview_handlers
from backlotfs.mount.control.warm import warm_handlers
from backlotfs.mount.stack import Stack
from backlotfs.mount.status import WaitingProgram, mount_head, status_answer
from backlotfs.open_files.metrics import Usage
from backlotfs.source.timed_get import Outcome


def handlers(
    settings: MountSettings, stack: Stack, waiting: Callable[[], Iterable[WaitingProgram]]
) -> Mapping[str, Handler]:
    """By the name of the command; made once, at the start of the mount, whose time they tell.

    ``warm``, ``held`` and ``preview`` may wait for the network, the others for the disk at most.

    :param waiting: the programs whose operations wait now.
    """
    began_s = time.time()

    def refresh(request: dict[str, Any]) -> dict[str, Any]:
        stack.catalog.refresh(full=bool(request.get("full")))
        return {}

    return {
        "status": lambda _request: status_answer(settings, stack, began_s, waiting()),
        "stats": lambda _request: mount_head(settings) | {"since": began_s} | _stats(stack),
        "refresh": refresh,
        **warm_handlers(stack),
        **pin_handlers(stack),
        **preview_handlers(stack),
    }


def _stats(stack: Stack) -> dict[str, Any]:
    by_name = stack.observed.reads.by_name()
    used_bytes = (
        stack.observed.reads.used_bytes + stack.warmer.fetched_bytes
    )  # before what was fetched, or more may seem used than was
    totals = stack.gets.totals()
    everybody = stack.observed.reads.total()
    asked_bytes = everybody.asked_bytes
    made, won = stack.lines.hedges()
    return {
        "reads": _usage(everybody),
        "processes": {name: _usage(usage) for name, usage in by_name.items()},
        "fetched_bytes": totals.fetched_bytes,
        "amplification": round(totals.fetched_bytes / asked_bytes, 4) if asked_bytes else None,
        "warmed_bytes": stack.warmer.fetched_bytes,
        "unused_bytes": max(0, totals.fetched_bytes - used_bytes),
        "requests": {
            "made": totals.begun,
            **{outcome.value: totals.outcomes.get(outcome, 0) for outcome in Outcome},
        },
        "hedges": {"made": made, "won": won},
        "url_refreshes": stack.resolver.refreshes,
        "memory": stack.memory_use()._asdict(),
        "disk": _disk(stack),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "asked_bytes": usage.asked_bytes,
        "reads": usage.reads,
        "failed": usage.failed,
        "blocks": dict(zip(TIERS, usage.blocks, strict=True)),
    }


def _disk(stack: Stack) -> dict[str, Any] | None:
    disk = stack.disk
    if disk is None:
        return None
    return {
        "held_bytes": disk.held_bytes,
        "budget_bytes": disk.budget_bytes,
        **disk.counts._asdict(),
    }
