# SPDX-License-Identifier: Apache-2.0
"""The answers of a running mount to the commands that ask it, one handler for each command.

``warm`` and ``pin`` fetch in steps, and the command requests one step after the other. So the work
ends when the command is interrupted, and the mount has no state of it: the disk cache has the
blocks that were fetched.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backlotfs.api.records import SignedUrl
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.memory import TIERS
from backlotfs.cache.pins import PinsFull
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import MountSettings
from backlotfs.config.time_limits import PREVIEW_S, WARM_STEP_S
from backlotfs.errors import BacklotError, ContentChanged, Interrupted, NoSuchEntry
from backlotfs.kernel.passthrough import OFF, PassthroughState
from backlotfs.log.terminal import in_words
from backlotfs.mount.control.server import Handler
from backlotfs.mount.history import History, Point
from backlotfs.mount.stack import Stack
from backlotfs.mount.status import (
    RunningExports,
    WaitingProgram,
    mount_head,
    next_files,
    status_answer,
    usage_answer,
)
from backlotfs.namespace.tree import VirtualFile, codes_below, paths_of
from backlotfs.source.signed_get import Outcome
from backlotfs.source.version import SourceVersion

#: If a step waits longer than this for an API credit, the answer is ``waiting_s``, and the command
#: repeats the request.
CREDIT_STEP_S = 2.0


def handlers(
    settings: MountSettings,
    stack: Stack,
    waiting: Callable[[], Iterable[WaitingProgram]],
    history: History,
    passthrough: Callable[[], PassthroughState] = lambda: PassthroughState(OFF, 0, 0),
    metrics: str | None = None,
) -> Mapping[str, Handler]:
    """Map each command's name to its handler; called once, when the mount starts.

    ``warm``, ``cached``, ``sources`` and ``preview`` may wait for the network, the others for the
    disk only.

    :param waiting: returns the programs whose operations wait now.
    :param history: the amounts that were read over time.
    :param passthrough: returns the number of files that the kernel reads itself.
    :param metrics: the address at which scrapes of Prometheus are answered; None: there is none.
    """
    began_s = time.time()
    exports = RunningExports(SystemClock())

    def status(request: dict[str, Any]) -> dict[str, Any]:
        exports.hear(request.get("export"))
        return status_answer(settings, stack, began_s, waiting()) | {
            "exports": exports.now(),
            "passthrough": passthrough()._asdict(),
            "metrics": metrics,
        }

    def refresh(request: dict[str, Any]) -> dict[str, Any]:
        stack.catalog.refresh(full=bool(request.get("full")))
        return {}

    return {
        "status": status,
        "stats": lambda _request: (
            mount_head(settings)
            | {"since": began_s, "passthrough": passthrough()._asdict()}
            | _stats(stack)
            | {"history": [_point(point) for point in history.points()]}
        ),
        "refresh": refresh,
        "preview": lambda request: _preview(stack, request),
        **direct_handlers(settings, stack),
        **warm_handlers(stack),
        **pin_handlers(stack),
    }


def direct_handlers(settings: MountSettings, stack: Stack) -> Mapping[str, Handler]:
    """Handlers for a process of this user that reads sources itself: ``transport``, ``sources``.

    The answer to ``transport`` has the settings for connections to hosts. The answer to ``sources``
    has, for each of the ``paths``, the version of the file and a signed URL, or null if the file
    has to be read through the mount. Files whose version or URL is not known yet are left out,
    except the first. ``refused`` is a URL of the first file that the source host refused.
    """
    account = settings.account

    def transport(_request: dict[str, Any]) -> dict[str, Any]:
        return {
            "api_url": account.api_url,
            "allow_source_hosts": list(account.allow_source_hosts),
            "ca_bundle": account.ca_bundle,
            "proxy": None if account.proxy is None else account.proxy.url,
            "limited": settings.bandwidth_bytes_s > 0,
        }

    def sources(request: dict[str, Any]) -> dict[str, Any]:
        first, *others = map(str, request["paths"])
        refused = request.get("refused")
        found = [_direct(stack, first, str(refused) if refused else None)]
        # A file that needs a request to the API or a host would delay the answer for the others.
        found += [_direct(stack, path) for path in others if _is_known(stack, path)]
        return {"files": found}

    return {"transport": transport, "sources": sources}


def _is_known(stack: Stack, path: str) -> bool:
    """Whether version and URL of a file are known now."""
    try:
        codes = codes_below(stack.namespace.root, path)
    except BacklotError:  # the file belongs to no asset, or was removed
        return False
    known = [stack.versions.known(code) for code in codes if stack.resolver.has_fresh(code)]
    return len(codes) == 1 == len(known) and known[0] is not None and known[0].verified


def _direct(stack: Stack, path: str, refused: str | None = None) -> dict[str, Any] | None:
    """The version and a URL of a file; None: the file has to be read through the mount.

    The result is None if the file has no source or is being replaced, if at least half of it is
    cached, if its URL would cost an API credit, or after any error.
    """
    try:
        found = stack.namespace.find(path)
        if isinstance(found, VirtualFile):
            return None
        waiter = _waiter(stack, {"path": path})
        version = stack.namespace.open(found, waiter)
        known = stack.versions.known(version.embed_code)
        if known is None or known.version != version:  # the source is being replaced
            return None
        if 2 * stack.reading.cached.bytes_of(version) >= version.size:
            return None
        if refused is not None:
            stack.resolver.invalidate(version.embed_code, SignedUrl.parse(refused))
        if not stack.resolver.is_free(version.embed_code):
            return None
        url = stack.resolver.resolve(version.embed_code, waiter.deadline)
    except BacklotError:  # a read through the mount will report the error
        return None
    return {
        "path": path,
        "id": version.embed_code,
        "size": version.size,
        "etag": version.etag,
        "last_modified": version.last_modified,
        "mtime_s": stack.namespace.attributes_of_version(known).mtime_s,
        "url": url.url,
    }


def warm_handlers(stack: Stack) -> Mapping[str, Handler]:
    """Handlers of ``cached`` and ``warm``, each for a ``path`` inside the mount (``/label/a.mov``).

    If a step waits for an API credit, the answer is ``waiting_s``: the seconds until there is a
    credit. The command then repeats the request.
    """

    def cached(request: dict[str, Any]) -> dict[str, Any]:
        if isinstance(stack.namespace.find(str(request["path"])), VirtualFile):
            return {"virtual": True}  # a file that the mount generates is never fetched
        version = _version(stack, request, _waiter(stack, request))
        if request.get("settle"):
            stack.reading.warmer.settle()
        return {
            "id": version.embed_code,
            "version": version.validator,
            "size": version.size,
            "cached_bytes": stack.reading.warmer.cached_bytes(version),
            "pinned": stack.reading.reconciler.pins.of(version.embed_code) is not None,
            "room": stack.reading.warmer.room_bytes - stack.reading.reconciler.pins.needed_bytes,
            "block": stack.reading.warmer.block_bytes,
        }

    def warm(request: dict[str, Any]) -> dict[str, Any]:
        waiter = _waiter(stack, request)
        version = _version(stack, request, waiter)
        if version.validator != request["version"]:
            raise ContentChanged(f"{request['path']} was replaced meanwhile: warm it again")
        step = stack.reading.warmer.warm(
            version, int(request["offset"]), int(request["length"]), waiter
        )
        return step._asdict()

    def or_waiting(answer: Handler) -> Handler:
        def answered(request: dict[str, Any]) -> dict[str, Any]:
            try:
                return answer(request)
            except Interrupted:
                return {"waiting_s": stack.limiter.status().more_in_s or 1.0}

        return answered

    return {"cached": or_waiting(cached), "warm": or_waiting(warm)}


def _version(stack: Stack, request: dict[str, Any], waiter: InterruptibleWait) -> SourceVersion:
    return stack.namespace.open(stack.namespace.find(str(request["path"])), waiter)


def _waiter(stack: Stack, request: dict[str, Any]) -> InterruptibleWait:
    """A waiter with the limit `WARM_STEP_S`, or `CREDIT_STEP_S` while it waits for a credit."""
    clock = SystemClock()
    codes = codes_below(stack.namespace.root, str(request["path"]))
    until_s = clock.monotonic() + CREDIT_STEP_S

    def waits_for_credit() -> bool:
        late = clock.monotonic() >= until_s
        return late and any(stack.probes.is_queued(code) for code in codes)

    return InterruptibleWait(Deadline(WARM_STEP_S, clock), waits_for_credit)


def pin_handlers(stack: Stack) -> Mapping[str, Handler]:
    """Handlers of ``pin`` (``sources``: [[id, version], …]), ``unpin`` (a ``path``) and ``pins``.

    ``pin`` records all pins or none. Then the command fetches the bytes by ``warm`` requests.
    """
    pins = stack.reading.reconciler.pins

    def pin(request: dict[str, Any]) -> dict[str, Any]:
        wanted = [Pin(str(code), str(version)) for code, version in request["sources"]]
        try:
            if request.get("dry_run"):
                pins.check(wanted)
                return {}
            return {"pinned": len(pins.add(wanted))}
        except PinsFull as full:
            raise BacklotError(
                f"the files need {in_words(full.wanted_bytes)}, and the pin quota of "
                f"{in_words(pins.quota_bytes)} has {in_words(full.left_bytes)} left: name fewer "
                "files, unpin others (backlotfs pins), or mount with a larger --cache-size or "
                "--pin-quota"
            ) from None

    def unpin(request: dict[str, Any]) -> dict[str, Any]:
        path = str(request["path"])
        if path == "/":  # all pins, also of assets that are not in the library any more
            codes = {pin.embed_code for pin in pins.all()}
        else:
            codes = codes_below(stack.namespace.root, path)
        gone = pins.remove(codes)
        return {"files": len(gone), "size": sum(pin.size for pin in gone)}

    def listing(request: dict[str, Any]) -> dict[str, Any]:
        totals = {
            "quota_bytes": pins.quota_bytes,
            "needed_bytes": pins.needed_bytes,
            "cached_bytes": pins.cached_bytes,
        }
        if request.get("brief"):
            return totals
        every = pins.all()
        paths = paths_of(stack.namespace.root, {pin.embed_code for pin in every})
        files = [
            {
                "id": pin.embed_code,
                "paths": paths.get(pin.embed_code, []),
                "size": pin.size,
                "cached_bytes": pins.cached_bytes_of(pin),
            }
            for pin in every
        ]
        return {**totals, "files": files}

    return {"pin": pin, "unpin": unpin, "pins": listing}


def _preview(stack: Stack, request: dict[str, Any]) -> dict[str, Any]:
    """The preview image of a ``path`` in base64, as the server sent it; null if it has none.

    The mount fetches the image, because it has the connections and the address policy. The command
    decodes the image, so a malformed image cannot harm the mount.
    """
    try:
        asset = stack.namespace.asset(stack.namespace.find(str(request["path"])))
    except NoSuchEntry:  # for example a generated file, which belongs to no asset
        asset = None
    if asset is None or not asset.preview_image_url:
        return {"image": None}
    image = stack.previews.fetch(asset.preview_image_url, Deadline(PREVIEW_S, SystemClock()))
    return {"image": base64.b64encode(image).decode("ascii")}


def _stats(stack: Stack) -> dict[str, Any]:
    reads, warmed_bytes = stack.reading.metrics.reads, stack.reading.warmer.fetched_bytes
    # Read the used bytes before the fetched bytes, so that there are not more used than fetched.
    used_bytes = reads.used_bytes + warmed_bytes
    totals, everybody = stack.transport.hosts.totals(), reads.total()
    asked_bytes = everybody.asked_bytes
    disk = stack.reading.disk
    return {
        "reads": usage_answer(everybody),
        "processes": {name: usage_answer(usage) for name, usage in reads.by_name().items()},
        "fetched_bytes": totals.fetched_bytes,
        "amplification": round(totals.fetched_bytes / asked_bytes, 4) if asked_bytes else None,
        "warmed_bytes": warmed_bytes,
        "unused_bytes": max(0, totals.fetched_bytes - used_bytes),
        "next_files": next_files(stack),
        "requests": {
            "made": totals.begun,
            **{outcome.value: totals.outcomes.get(outcome, 0) for outcome in Outcome},
        },
        "hedges": {"made": totals.hedges, "won": totals.hedges_won},
        "url_refreshes": stack.resolver.refreshes,
        "memory": stack.reading.memory_use()._asdict(),
        "disk": disk
        and {
            "cached_bytes": disk.cached_bytes,
            "budget_bytes": disk.budget_bytes,
            **disk.counts._asdict(),
        },
    }


def _point(point: Point) -> dict[str, Any]:
    totals = point.totals
    return {
        "at": round(point.at_s, 1),
        "read_bytes": totals.read_bytes,
        "fetched_bytes": totals.fetched_bytes,
        "blocks": dict(zip(TIERS, totals.blocks, strict=True)),
    }
