"""Ways an answer can go wrong. A ``Fault`` is a value; ``FaultPlan`` says when it strikes.

Kinds, with their parameters, as factories here and as ``"fault": "<kind>"`` in a JSON plan:

=====================  ================================  =======================================
kind                   parameters                        what happens
=====================  ================================  =======================================
``delay``              seconds                           the answer starts later
``status``             status, body, content_type,       this answer instead of the real one
                       headers
``slow_down``                                            503 ``SlowDown`` (XML)
``access_denied``                                        403 ``AccessDenied``, not about expiry
``redirect``           location, status                  a redirect
``rate_limited``       seconds                           429 with the seconds in the message
``object_message``     status                            ``message`` is an object
``html_500``                                             500 with an HTML body
``empty_json``                                           200, JSON content type, no body
``invalid_utf8``                                         the real JSON with bytes that are not UTF-8
``truncated_json``                                       the first half of the real JSON
``null_url``                                             ``/streams``, info: the URL is null
``no_source``                                            ``/streams`` without its source entry
``empty_streams``                                        ``/streams`` is ``[]``
``wrong_size``         size_delta                        ``file_size`` is off by so many bytes
``reset``              at_byte                           RST after so many body bytes (-1: none)
``short_body``         at_byte                           closes early, full ``Content-Length``
``long_body``          extra_bytes                       further bytes after the body
``stall``              at_byte, seconds                  nothing more, until released or so long;
                                                         a body that ends before that is whole
``trickle``            bytes_per_s                       a slow body
``wrong_range``        offset                            ``Content-Range`` shifted by so many bytes
``missing_range``                                        206 without ``Content-Range``
``whole_object``                                         200 and everything, for a range
``no_content``                                           204
``other_length``       size_delta                        206 of another length, honestly labelled
``gzip``                                                 the body gzipped, though not asked for
=====================  ================================  =======================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NEEDED = object()

_KINDS: Mapping[str, Mapping[str, Any]] = {
    "delay": {"seconds": _NEEDED},
    "status": {"status": _NEEDED, "body": "", "content_type": "text/html", "headers": {}},
    "slow_down": {},
    "access_denied": {},
    "redirect": {"location": _NEEDED, "status": 302},
    "rate_limited": {"seconds": 60},
    "object_message": {"status": 400},
    "html_500": {},
    "empty_json": {},
    "invalid_utf8": {},
    "truncated_json": {},
    "null_url": {},
    "no_source": {},
    "empty_streams": {},
    "wrong_size": {"size_delta": _NEEDED},
    "reset": {"at_byte": 0},
    "short_body": {"at_byte": 0},
    "long_body": {"extra_bytes": 16},
    "stall": {"at_byte": 0, "seconds": None},
    "trickle": {"bytes_per_s": _NEEDED},
    "wrong_range": {"offset": 1},
    "missing_range": {},
    "whole_object": {},
    "no_content": {},
    "other_length": {"size_delta": -1},
    "gzip": {},
}
_LARGEST_NUMBER = 2**62
_NOT_NUMBERS = frozenset({"body", "content_type", "headers", "location"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong. Immutable; made by the factories below or ``Fault.of``."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, **parameters: Any) -> Fault:
        """A fault by the name of its kind.

        :raises ValueError: for an unknown kind, a parameter it does not take, one it lacks, or
            one that is not a number and should be.
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
        return cls(kind, complete)

    def number(self, name: str) -> float:
        """A numeric parameter of this kind."""
        return float(self.parameters[name])

    def integer(self, name: str) -> int:
        """A numeric parameter of this kind, whole."""
        return int(self.parameters[name])

    @classmethod
    def delay(cls, seconds: float) -> Fault:
        """The answer starts so much later; also when another fault strikes the same request."""
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
        """This answer instead of the real one: 500, 503, anything."""
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
        """``file_size`` differs from the truth by so many bytes."""
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
        """Stops after ``at_byte`` body bytes, until released or for ``seconds``; then goes on."""
        return cls.of("stall", at_byte=at_byte, seconds=seconds)

    @classmethod
    def trickle(cls, bytes_per_s: float) -> Fault:
        """A body at this rate, in ten steps a second."""
        return cls.of("trickle", bytes_per_s=bytes_per_s)

    @classmethod
    def wrong_range(cls, offset: int = 1) -> Fault:
        """``Content-Range`` names a span shifted by ``offset``; the bytes are the right ones."""
        return cls.of("wrong_range", offset=offset)

    @classmethod
    def other_length(cls, size_delta: int) -> Fault:
        """A 206 whose span ends ``size_delta`` bytes later (or earlier), and says so."""
        return cls.of("other_length", size_delta=size_delta)
