"""What a running mount answers to ``pin``, ``unpin`` and ``pins``.

``pin`` makes the pins, all or none; the command then has the files fetched step by step, as
``warm`` has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.pins import PinsFull
from backlotfs.errors import BacklotError
from backlotfs.log.terminal import in_words
from backlotfs.mount.control.server import Handler
from backlotfs.mount.stack import Stack
from backlotfs.namespace.tree import codes_below, paths_of


def pin_handlers(stack: Stack) -> Mapping[str, Handler]:
    """``pin`` of ``sources`` ([[id, version], …]), ``unpin`` of a ``path``, and ``pins``."""
    pins = stack.keeper.pins

    def pin(request: dict[str, Any]) -> dict[str, Any]:
        wanted = [Pin(str(code), str(version)) for code, version in request["sources"]]
        try:
            if request.get("dry_run"):
                pins.check(wanted)
                return {}
            return {"pinned": len(pins.add(wanted))}
        except PinsFull as full:
            raise BacklotError(
                f"{in_words(full.wanted_bytes)} are to be pinned and {in_words(full.left_bytes)} "
                f"of {in_words(pins.quota_bytes)} are left for pins: name fewer files, unpin "
                "others (backlotfs pins), or mount with a larger --cache-size or --pin-quota"
            ) from None

    def unpin(request: dict[str, Any]) -> dict[str, Any]:
        path = str(request["path"])
        if path == "/":  # also what has no place in the library any more
            codes = {pin.embed_code for pin in pins.all()}
        else:
            codes = codes_below(stack.namespace.root, path)
        gone = pins.remove(codes)
        return {"files": len(gone), "size": sum(pin.size for pin in gone)}

    def listing(request: dict[str, Any]) -> dict[str, Any]:
        totals = {
            "quota_bytes": pins.quota_bytes,
            "needed_bytes": pins.needed_bytes,
            "held_bytes": pins.held_bytes,
        }
        if request.get("brief"):
            return totals
        every = pins.all()
        paths = paths_of(stack.namespace.root, {pin.embed_code for pin in every})
        return {**totals, "files": [_file(pin, paths.get(pin.embed_code, [])) for pin in every]}

    def _file(pin: Pin, paths: list[str]) -> dict[str, Any]:
        return {
            "id": pin.embed_code,
            "paths": paths,
            "size": pin.size,
            "held": pins.held(pin),
        }

    return {"pin": pin, "unpin": unpin, "pins": listing}
