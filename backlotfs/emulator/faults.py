# SPDX-License-Identifier: Apache-2.0
"""Faults: the kinds of wrong answers, and the plan that selects the requests that get them.

A ``Fault`` is a kind with its parameters, made by a factory here or written as
``"fault": "<kind>"`` in a JSON plan. ``transfer`` applies the faults of sending (reset, stall …).
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any

from backlotfs.emulator.api import rate_limit_message
from backlotfs.emulator.assets import OpenContent
from backlotfs.emulator.http_types import API_CONTENT_TYPE, ROUTES, Answer, ByteSpan, SourceNode
from backlotfs.emulator.sources import source_error

_NEEDED = object()
_LARGEST_NUMBER = 2**62
_NOT_NUMBERS = frozenset({"body", "content_type", "headers", "location", "value"})
_KINDS: Mapping[str, Mapping[str, Any]] = {
    # the answer starts later
    "delay": {"seconds": _NEEDED},
    # another answer instead of the real one
    "status": {"status": _NEEDED, "body": "", "content_type": "text/html", "headers": {}},
    "redirect": {"location": _NEEDED, "status": 302},
    "slow_down": {},  # 503 SlowDown (XML)
    "access_denied": {},  # 403 AccessDenied, not about expiry
    "rate_limited": {"seconds": 60},  # 429 with the seconds in the message
    "object_message": {"status": 400},  # "message" is an object
    "html_500": {},  # 500 with an HTML body
    "empty_json": {},  # 200, JSON content type, no body
    "no_content": {},  # 204
    # the real answer, changed
    "invalid_utf8": {},  # JSON with bytes that are not UTF-8
    "truncated_json": {},  # the first half of the JSON
    "null_url": {},  # /streams, /source_file_info: the URL is null
    "no_source": {},  # /streams without its source entry
    "empty_streams": {},  # /streams is []
    "wrong_size": {"size_delta": _NEEDED},  # "file_size" is too large by so many bytes
    "wrong_range": {"offset": 1},  # Content-Range shifted by so many bytes
    "missing_range": {},  # 206 without Content-Range
    "whole_object": {},  # 200 and everything, for a range
    "other_length": {"size_delta": -1},  # 206 of another length, with a matching Content-Range
    # 206 with a correct Content-Range, of so many bytes at most
    "short_range": {"most_bytes": 100_000},
    # 206 with a correct Content-Range, from and to multiples of a step
    "wide_range": {"step_bytes": 65536},
    "unknown_total": {},  # "Content-Range: bytes a-b/*"
    "odd_range": {},  # Content-Range with another case of the unit, blanks and leading zeros
    "empty_200": {},  # 200 without a byte, for a range of an empty object
    "empty_206": {},  # the same as 206 with "Content-Range: bytes 0-0/0"
    "content_encoding": {"value": "aws-chunked"},  # this header, with unchanged bytes
    "gzip": {},  # the body gzipped, although the client did not ask for it
    # the real answer, sent in another form
    "early_hints": {"count": 1},  # so many answers with status 103 before it
    "no_length": {},  # chunked, without Content-Length
    # the real answer, sent badly
    "reset": {"at_byte": 0},  # RST after so many body bytes (-1: before any header)
    "short_body": {"at_byte": 0},  # closes early, full Content-Length
    "long_body": {"extra_bytes": 16},  # further bytes after the body
    # stops at a byte until the rule is released, or for so many seconds; then sends the rest
    "stall": {"at_byte": 0, "seconds": None},
    "trickle": {"bytes_per_s": _NEEDED},  # a slow body
    # the real answer, from several nodes in turn, each with an ETag of its own; another fault may
    # apply to the same request; by_connection=1: another node for each connection, not for each
    # request; weak=1: the ETags are W/"e"
    "nodes": {"nodes": 2, "by_connection": 0, "weak": 0},
}
"""The parameters of each kind with their defaults; ``_NEEDED``: a parameter without a default."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of an answer. Immutable; made by the factories below or ``Fault.of``."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, **parameters: Any) -> Fault:
        """Make a fault by the name of its kind.

        :raises ValueError: the kind is unknown, or a parameter is unknown, missing or not a number.
        """
        if kind not in _KINDS:
            raise ValueError(f"there is no fault {kind!r}; there are: {', '.join(sorted(_KINDS))}")
        unknown = sorted(set(parameters) - set(_KINDS[kind]))
        if unknown:
            raise ValueError(f"the fault {kind!r} takes no {', '.join(unknown)}")
        complete = {**_KINDS[kind], **parameters}
        for name, value in complete.items():
            optional = value is None and _KINDS[kind][name] is None
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            is_number = is_number and abs(value) <= _LARGEST_NUMBER
            if value is _NEEDED or not (name in _NOT_NUMBERS or optional or is_number):
                raise ValueError(f"the fault {kind!r} needs a value for {name}")
        for name in ("bytes_per_s", "nodes", "most_bytes", "step_bytes"):
            if complete.get(name, 1) <= 0:
                raise ValueError(f"the fault {kind!r} needs {name} above 0")
        if not isinstance(complete.get("headers", {}), Mapping):
            told = f"the headers of the fault {kind!r} are an object: name to value"
            raise ValueError(told)  # noqa: TRY004  # the same for every mistake in a plan
        return cls(kind, complete)

    def number(self, name: str) -> float:
        """A numeric parameter of this kind."""
        return float(self.parameters[name])

    def integer(self, name: str) -> int:
        """A numeric parameter of this kind, whole."""
        return int(self.parameters[name])

    @classmethod
    def delay(cls, seconds: float) -> Fault:
        """The answer starts later. Another fault may apply to the same request."""
        return cls.of("delay", seconds=seconds)

    @classmethod
    def status(
        cls,
        status: int,
        body: bytes | str = b"",
        *,
        content_type: str = "text/html",
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """This answer instead of the real one: 500, 503 or any other."""
        return cls.of(
            "status", status=status, body=body, content_type=content_type, headers=headers or {}
        )

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Fault:
        """A redirect to ``location``."""
        return cls.of("redirect", location=location, status=status)

    @classmethod
    def rate_limited(cls, seconds: int) -> Fault:
        """429, "Try again after ``seconds`` seconds."."""
        return cls.of("rate_limited", seconds=seconds)

    @classmethod
    def wrong_size(cls, size_delta: int) -> Fault:
        """``file_size`` differs from the true size by ``size_delta`` bytes."""
        return cls.of("wrong_size", size_delta=size_delta)

    @classmethod
    def reset(cls, at_byte: int = 0) -> Fault:
        """RST after ``at_byte`` bytes of the body; -1: before any header."""
        return cls.of("reset", at_byte=at_byte)

    @classmethod
    def short_body(cls, at_byte: int = 0) -> Fault:
        """Announces the full length, closes after ``at_byte`` bytes."""
        return cls.of("short_body", at_byte=at_byte)

    @classmethod
    def long_body(cls, extra_bytes: int = 16) -> Fault:
        """Sends ``extra_bytes`` zero bytes after the announced length."""
        return cls.of("long_body", extra_bytes=extra_bytes)

    @classmethod
    def stall(cls, at_byte: int = 0, seconds: float | None = None) -> Fault:
        """Stops after ``at_byte`` body bytes until released or for ``seconds``, then sends on."""
        return cls.of("stall", at_byte=at_byte, seconds=seconds)

    @classmethod
    def trickle(cls, bytes_per_s: float) -> Fault:
        """A body at this rate, in ten steps a second."""
        return cls.of("trickle", bytes_per_s=bytes_per_s)

    @classmethod
    def nodes(cls, nodes: int = 2, *, by_connection: bool = False, weak: bool = False) -> Fault:
        """``nodes`` nodes serve the sources in turn, each with ETags of its own.

        :param by_connection: the node changes with the connection, not with each request.
        :param weak: the ETags of all nodes but the first are the same weak ETag (``W/``).
        """
        return cls.of("nodes", nodes=nodes, by_connection=int(by_connection), weak=int(weak))

    @classmethod
    def wrong_range(cls, offset: int = 1) -> Fault:
        """``Content-Range`` is shifted by ``offset``; the bytes are correct."""
        return cls.of("wrong_range", offset=offset)

    @classmethod
    def other_length(cls, size_delta: int) -> Fault:
        """A 206 that ends ``size_delta`` bytes later or earlier, with a matching Content-Range."""
        return cls.of("other_length", size_delta=size_delta)

    @classmethod
    def short_range(cls, most_bytes: int = 100_000) -> Fault:
        """A 206 of at most ``most_bytes`` bytes, with a correct ``Content-Range``."""
        return cls.of("short_range", most_bytes=most_bytes)

    @classmethod
    def content_encoding(cls, value: str = "aws-chunked") -> Fault:
        """``Content-Encoding: value``, with unchanged bytes."""
        return cls.of("content_encoding", value=value)


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a rule: which requests get its fault; see ``FaultPlan.add``."""

    route: str = "*"
    embed_code: str | None = None
    offsets: tuple[int, int] | None = None
    probability: float = 1.0
    skip: int = 0
    times: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.route != "*" and self.route not in ROUTES:
            known = ", ".join(sorted(ROUTES))
            raise ValueError(f"there is no route {self.route!r}; there are: {known}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability lies between 0 and 1: {self.probability}")
        if self.offsets is not None and list(map(type, self.offsets)) != [int, int]:
            raise ValueError(f"offsets are two whole numbers: {self.offsets}")
        for count in (self.skip, 0 if self.times is None else self.times):
            if type(count) is not int or count < 0:
                raise ValueError(f"skip and times are whole numbers: {count!r}")

    def fits(self, route: str, embed_code: str | None, start: int | None) -> bool:
        """Whether the condition holds for a request's route, asset and start of its range."""
        return (
            self.route in ("*", route)
            and self.embed_code in (None, embed_code)
            and (
                self.offsets is None
                or (start is not None and self.offsets[0] <= start < self.offsets[1])
            )
        )


class FaultRule:
    """A fault and its condition; made by ``FaultPlan.add``. Thread-safe.

    Of the requests that fit, the first ``skip`` get no fault. The next ones get it with
    ``probability``, until ``times`` requests have got it.
    """

    def __init__(self, fault: Fault, condition: Condition, chance: random.Random) -> None:
        """See ``FaultPlan.add``."""
        self.fault = fault
        self._condition = condition
        self._chance = chance
        self._lock = Lock()
        self._spared = 0
        self._hits = 0
        self._turns = itertools.count()
        self._turn_of: dict[int, int] = {}
        self._released = False
        self._wakes: set[Callable[[], object]] = set()

    @property
    def hits(self) -> int:
        """The number of requests that got the fault."""
        return self._hits

    def release(self) -> None:
        """End the rule, and let all requests that wait in it continue at once."""
        with self._lock:
            self._released = True
            wakes, self._wakes = self._wakes, set()
        for wake in wakes:
            wake()

    def strikes(self, route: str, embed_code: str | None, start: int | None) -> bool:
        """Whether this request gets the fault. If so, count it."""
        condition = self._condition
        if not condition.fits(route, embed_code, start):
            return False
        with self._lock:
            if self._released or (condition.times is not None and self._hits >= condition.times):
                return False
            if self._spared < condition.skip:
                self._spared += 1
                return False
            struck = condition.probability == 1 or self._chance.random() < condition.probability
            self._hits += struck
            return struck

    def node(self, connection_id: int) -> SourceNode:
        """The node that answers a request; only for a rule of the kind ``nodes``."""
        with self._lock:
            turn = self._turn_of.get(connection_id)
            if turn is None:
                turn = next(self._turns)
            if self.fault.integer("by_connection"):
                self._turn_of[connection_id] = turn
        return SourceNode(turn % self.fault.integer("nodes"), bool(self.fault.integer("weak")))

    async def wait(self, seconds: float | None) -> None:
        """Wait ``seconds`` (None: without a limit), or until the rule is released."""
        loop = asyncio.get_running_loop()
        released = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(released.set)

        with self._lock:
            if self._released:
                return
            self._wakes.add(wake)
        try:
            async with asyncio.timeout(seconds):
                await released.wait()
        except TimeoutError:
            pass  # the seconds have passed
        finally:
            with self._lock:
                self._wakes.discard(wake)


@dataclass(frozen=True, slots=True)
class FaultHit:
    """The faults for one request: delays, nodes, and at most one other rule."""

    delays: tuple[FaultRule, ...] = ()
    rule: FaultRule | None = None
    nodes: FaultRule | None = None


class FaultPlan:
    """The rules of one emulator, in the order they were added. Thread-safe.

    Rules may be added, released and removed while requests run.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """No faults; ``seed`` decides all probabilities."""
        self._lock = Lock()
        self._rules: list[FaultRule] = []
        self._chance = random.Random(seed)

    def add(
        self,
        fault: Fault,
        *,
        route: str = "*",
        embed_code: str | None = None,
        offsets: tuple[int, int] | None = None,
        probability: float = 1.0,
        skip: int = 0,
        times: int | None = None,
    ) -> FaultRule:
        """Add a rule.

        A request gets every delay that fits, the first fault ``nodes`` that fits, and the first
        other fault that fits.

        :param route: a route name (``source``, ``streams``, ``assets`` …) or ``*``.
        :param embed_code: only requests about this asset.
        :param offsets: only requests whose ``Range`` starts in this half-open span.
        :param probability: probability that a request that fits gets the fault.
        :param skip: the first requests that fit get no fault; ``skip=2, times=1`` is the third.
        :param times: the most requests that get the fault.
        :raises ValueError: a value is impossible.
        """
        condition = Condition(route, embed_code, offsets, probability, skip, times)
        with self._lock:
            rule = FaultRule(fault, condition, random.Random(self._chance.getrandbits(64)))
            self._rules.append(rule)
        return rule

    def remove(self, rule: FaultRule) -> None:
        """Release a rule and remove it from the plan."""
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)
        rule.release()

    def clear(self) -> None:
        """Release and remove all rules."""
        for rule in tuple(self._rules):
            self.remove(rule)

    def strike(self, route: str, embed_code: str | None, start: int | None) -> FaultHit:
        """Find the faults for this request."""
        delays: list[FaultRule] = []
        nodes: FaultRule | None = None
        other: FaultRule | None = None
        for rule in tuple(self._rules):
            match rule.fault.kind:
                case "delay":
                    if rule.strikes(route, embed_code, start):
                        delays.append(rule)
                case "nodes":
                    if nodes is None and rule.strikes(route, embed_code, start):
                        nodes = rule
                case _:
                    if other is None and rule.strikes(route, embed_code, start):
                        other = rule
        return FaultHit(tuple(delays), other, nodes)

    @classmethod
    def from_json(cls, path: str | Path) -> FaultPlan:
        """A plan from a file.

        ::

            {"seed": 7, "rules": [
              {"fault": "status", "status": 503, "route": "streams", "probability": 0.05},
              {"fault": "reset", "at_byte": 65536, "route": "source", "skip": 2, "times": 1},
              {"fault": "stall", "at_byte": 0, "seconds": 5, "offsets": [0, 1048576]},
              {"fault": "delay", "seconds": 0.03}]}

        ``fault`` and its parameters are those of ``_KINDS``; ``route``, ``embed_code``,
        ``offsets``, ``probability``, ``skip`` and ``times`` those of ``add``.

        :raises ValueError: when the file is not such a plan; one sentence.
        :raises OSError: when it cannot be read.
        """
        try:
            document: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            plan = cls(seed=int(document.get("seed", 0)))
            for entry in document["rules"]:
                when = {one.name: entry[one.name] for one in fields(Condition) if one.name in entry}
                if "offsets" in when:
                    when["offsets"] = tuple(when["offsets"])
                what = {n: v for n, v in entry.items() if n != "fault" and n not in when}
                plan.add(Fault.of(entry["fault"], **what), **when)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError) as error:
            raise ValueError(f"{path}: not a fault plan ({error!r})") from error
        return plan


def replacement(fault: Fault) -> Answer | None:
    """The answer that replaces the real one, which is then not made; None: use the real one."""
    values = fault.parameters
    match fault.kind:
        case "status":
            body = values.get("body", b"")
            return Answer(
                fault.integer("status"),
                body if isinstance(body, bytes) else str(body).encode(),
                {"Content-Type": str(values["content_type"]), **values["headers"]},
            )
        case "slow_down":
            return source_error("SlowDown")
        case "access_denied":
            return source_error("AccessDenied")
        case "redirect":
            return Answer(fault.integer("status"), b"", {"Location": str(values["location"])})
        case "rate_limited":
            return rate_limit_message(fault.integer("seconds"))
        case "object_message":
            payload = {"message": {"description": ["cannot contain hidden chars"]}}
            return Answer.json(payload, fault.integer("status"))
        case "html_500":
            page = b"<html><body><h1>500 Internal Server Error</h1></body></html>"
            return Answer(500, page, {"Content-Type": "text/html"})
        case "empty_json":
            return Answer(200, b"", {"Content-Type": API_CONTENT_TYPE})
    return None


def altered(fault: Fault, answer: Answer) -> Answer:
    """Change an answer as the fault says. An answer that the fault does not concern is not changed.

    Faults of ranges change only a 206. ``empty_200`` and ``empty_206`` change only the 416 of an
    empty object.
    """
    body = answer.body
    if fault.kind == "no_content":
        answer.close()
        return Answer(204, b"", {n: v for n, v in answer.headers.items() if n != "Content-Type"})
    if fault.kind == "gzip":
        if isinstance(body, ByteSpan):
            plain = body.content.read(body.start, body.length)
            answer.close()
            if len(plain) < body.length:
                raise ConnectionResetError("the file was changed")
            body = plain
        return replace(
            answer.with_headers(Content_Encoding="gzip"), body=gzip.compress(body, compresslevel=1)
        )
    if fault.kind == "content_encoding":
        return answer.with_headers(Content_Encoding=str(fault.parameters["value"]))
    if isinstance(body, ByteSpan):
        return _other_range(fault, answer, body) if answer.status == 206 else answer
    if answer.status == 416 and b"<ActualObjectSize>0<" in body:
        match fault.kind:
            case "empty_200":
                return Answer(200)
            case "empty_206":
                return Answer(206, b"", {"Content-Range": "bytes 0-0/0"})
    match fault.kind:
        case "null_url" | "no_source" | "empty_streams" | "wrong_size" if answer.status == 200:
            body = json.dumps(_edited(fault, json.loads(body)), ensure_ascii=False).encode()
        case "invalid_utf8":
            body = body.replace(b'":"', b'":"\xff\xfe', 1)
        case "truncated_json":
            body = body[: len(body) // 2]
    return replace(answer, body=body)


def _other_range(fault: Fault, answer: Answer, span: ByteSpan) -> Answer:
    headers = dict(answer.headers)
    size = span.content.size
    match fault.kind:
        case "missing_range":
            del headers["Content-Range"]
        case "wrong_range":
            shift = fault.integer("offset")
            first, last = span.start + shift, span.stop - 1 + shift
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        case "whole_object":
            del headers["Content-Range"]
            return Answer(200, ByteSpan(span.content, 0, size), headers)
        case "other_length":
            stop = min(max(span.stop + fault.integer("size_delta"), span.start + 1), size)
            return _partial(headers, span.content, span.start, stop)
        case "short_range":
            stop = min(span.stop, span.start + fault.integer("most_bytes"))
            return _partial(headers, span.content, span.start, stop)
        case "wide_range":
            step = fault.integer("step_bytes")
            start, stop = span.start // step * step, min(size, -(-span.stop // step) * step)
            return _partial(headers, span.content, start, stop)
        case "unknown_total":
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/*"
        case "odd_range":
            headers["Content-Range"] = f"Bytes   0{span.start} - {span.stop - 1} / 00{size} "
    return replace(answer, headers=headers)


def _partial(headers: Mapping[str, str], content: OpenContent, start: int, stop: int) -> Answer:
    """A 206 with the correct ``Content-Range``."""
    place = {"Content-Range": f"bytes {start}-{stop - 1}/{content.size}"}
    return Answer(206, ByteSpan(content, start, stop), {**headers, **place})


def _edited(fault: Fault, payload: Any) -> Any:
    """Change the JSON of ``/streams`` (a list) or ``/source_file_info`` (an object)."""
    if not isinstance(payload, list):
        match fault.kind:
            case "no_source":
                return {**payload, "source_file_url": None, "file_size": None}
            case "null_url" if "source_file_url" in payload:
                return {**payload, "source_file_url": None}
            case "wrong_size" if "file_size" in payload:
                return {**payload, "file_size": _resized(fault, payload["file_size"])}
        return payload
    match fault.kind:
        case "empty_streams":
            return []
        case "no_source":
            return [entry for entry in payload if not _is_source(entry)]
        case "null_url":
            return [{**entry, "url": None} if _is_source(entry) else entry for entry in payload]
    return [
        {**entry, "file_size": _resized(fault, entry["file_size"])} if _is_source(entry) else entry
        for entry in payload
    ]


def _is_source(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("is_source") in (True, "true")


def _resized(fault: Fault, size: Any) -> Any:
    delta = fault.integer("size_delta")
    if size is None:
        return None
    return str(int(size) + delta) if isinstance(size, str) else size + delta
