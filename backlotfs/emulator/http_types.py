"""A request as received and an answer as decided: plain values, without a socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from backlotfs.emulator.content import OpenContent

API_CONTENT_TYPE = "application/json;charset=utf-8"


@dataclass(frozen=True)
class ReceivedRequest:
    """One request.

    :ivar method: upper case.
    :ivar raw_path: path as received, undecoded, without the query.
    :ivar raw_query: query as received, without the ``?``.
    :ivar headers: looked up without regard to case.
    :ivar base_url: how the client reached us: ``http://host:port``.
    """

    method: str
    raw_path: str
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base_url: str = ""

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """Decoded query parameters in the order received, empty ones included."""
        return parse_qsl(self.raw_query, keep_blank_values=True, errors="surrogateescape")

    @cached_property
    def values(self) -> dict[str, str]:
        """The last value of each query parameter."""
        return dict(self.parameters)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """Part of an open content, as a body. The sender of the answer closes the content."""

    content: OpenContent
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, before faults.

    :ivar headers: without ``Content-Length`` and ``Date``, which the sender adds.
    """

    status: int
    body: bytes | ByteSpan = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, payload: Any, status: int = 200) -> Answer:
        """A JSON answer of the API."""
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        try:
            body = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half of a surrogate pair, which no encoding can hold
            body = text.encode("utf-8", "replace")
        return cls(status, body, {"Content-Type": API_CONTENT_TYPE})

    @classmethod
    def message(cls, status: int, text: str, **more: Any) -> Answer:
        """An error of the API: ``{"message": …}``."""
        return cls.json({"message": text, **more}, status)

    @property
    def length(self) -> int:
        """Length of the body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def with_headers(self, **headers: str) -> Answer:
        """The same answer with further headers; ``_`` in a name stands for ``-``."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})

    def close(self) -> None:
        """Close the open content of an answer that is not sent."""
        if isinstance(self.body, ByteSpan):
            self.body.content.close()
