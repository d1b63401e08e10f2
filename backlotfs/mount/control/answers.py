"""What the commands rely on in the answers of a mount, and the check of it.

A mount of an older or newer version may answer in another form, and whatever runs as the same user
may sit behind the socket: an answer is used only after `problem_of` has found nothing wrong. More
keys than these are fine.

A shape is a type (`int`, `float`, `str`, `bool`), `MOMENT`, a list with the shape of its items, a
dict with the shapes of its keys (``{str: shape}``: any keys), or `Maybe` one of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Seconds since 1970 that a calendar can show.
MOMENT = object()
_LAST_MOMENT_S = 253_402_300_799
#: No number of an answer is larger.
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class Maybe:
    """The shape, or null."""

    shape: Any


_MOUNT = {"source": str, "mountpoint": str, "pid": int}
_USAGE = {"asked_bytes": int, "reads": int, "failed": int}
_BY_TIER = {**_USAGE, "blocks": {str: int}}
_HELD = {"held_bytes": int, "budget_bytes": int}
_PINS = {"quota_bytes": int, "needed_bytes": int, "held_bytes": int}

_SHAPES: dict[str, dict[Any, Any]] = {
    "status": {
        **_MOUNT,
        "assets": int,
        "size_bytes": int,
        "sizes": {"sized": int, "missing": int, "total": int, "seconds_left": Maybe(float)},
        "synced_at": MOMENT,
        "syncing": bool,
        "stale": bool,
        "last_error": Maybe(str),
        "cache": {
            "memory": _HELD,
            "disk": Maybe(_HELD),
            "pinned": Maybe({**_PINS, "files": int}),
        },
        "throughput": {
            "now": {"read_bytes_per_s": float, "fetched_bytes_per_s": float},
            "since_start": {
                "read_bytes": int,
                "fetched_bytes": int,
                "read_bytes_per_s": float,
                "fetched_bytes_per_s": float,
            },
        },
        "credits": {
            "credits_left": Maybe(float),
            "limit": Maybe(float),
            "more_in_s": Maybe(float),
            "waiting": [int],
        },
        "waiting": [{"pid": int, "program": str, "file": str, "for": str, "seconds": float}],
        "url_refreshes": int,
        "errors": [{"at": MOMENT, "file": str, "errno": str, "reason": str, "times": int}],
        "processes": {str: _USAGE},
        "log": str,
    },
    "stats": {
        **_MOUNT,
        "since": MOMENT,
        "reads": _BY_TIER,
        "processes": {str: _BY_TIER},
        "fetched_bytes": int,
        "amplification": Maybe(float),
        "warmed_bytes": int,
        "unused_bytes": int,
        "requests": {"made": int, str: int},
        "hedges": {"made": int, "won": int},
        "url_refreshes": int,
        "memory": {
            "budget_bytes": int,
            "cached_bytes": int,
            "leased_bytes": int,
            "under_way_bytes": int,
        },
        "disk": Maybe({**_HELD, "damaged": int, "evicted": int, "turned_away": int}),
    },
    "unpin": {"files": int, "size": int},
    "pins": {**_PINS, "files": [{"id": str, "paths": [str], "size": int, "held": int}]},
    "pins brief": _PINS,
    "held": {
        "id": str,
        "version": str,
        "size": int,
        "held": int,
        "pinned": bool,
        "room": int,
        "block": int,
    },
    "warm": {"reached": int, "fetched_bytes": int},
    "preview": {"image": Maybe(str)},
}


def problem_of(answer: Mapping[str, Any], command: str, *, brief: bool = False) -> str | None:
    """What is wrong with an answer, in a few words; None where it can be used.

    :param brief: what ``pins`` was asked with.
    """
    if command == "held" and answer.get("made") is True:
        return None  # of a file that the mount makes itself, which has none of the rest
    if command in ("held", "warm") and "waiting_s" in answer:
        return _problem(answer, {"waiting_s": float}, "it")  # it waits for an API credit
    shape = _SHAPES.get(f"{command} brief" if brief else command, {})
    return _problem(answer, shape, "it")


def _problem(value: Any, shape: Any, where: str) -> str | None:
    if isinstance(shape, Maybe):
        return None if value is None else _problem(value, shape.shape, where)
    if isinstance(shape, dict):
        return _problem_of_object(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        found = (_problem(one, shape[0], f"an item of {where}") for one in value)
        return next((problem for problem in found if problem is not None), None)
    return None if _fits(value, shape) else f"{where} is not what is expected"


def _problem_of_object(value: Any, shape: Mapping[Any, Any], where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where} is not an object"
    of_others = shape.get(str)
    for key in shape:
        if key is not str and key not in value:
            return f"{key} is missing"
    for key, inner in value.items():
        expected = shape.get(key, of_others)
        # the keys of a free object come from programs' names: they are not repeated
        named = key if key in shape else f"an entry of {where}"
        problem = _problem(inner, expected, named) if expected is not None else None
        if problem is not None:
            return problem
    return None


def _fits(value: Any, shape: Any) -> bool:
    if shape is str or shape is bool:
        return isinstance(value, shape)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if shape is int and not isinstance(value, int):
        return False
    if not math.isfinite(value) or abs(value) >= _LARGEST:
        return False
    return shape is not MOMENT or 0 <= value <= _LAST_MOMENT_S
