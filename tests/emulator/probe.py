# SPDX-License-Identifier: Apache-2.0
"""A plain client for the emulator's tests: ``http.client``, and a signer written out longhand."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from backlotfs.emulator import Emulator


@dataclass(frozen=True)
class Reply:
    """An answer as it came: status, headers, body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def sign(secret: str, method: str, path: str, values: Mapping[str, str], body: bytes = b"") -> str:
    """The signature by the book: secret, method, path, sorted pairs, body; SHA-256; 43 letters."""
    text = (secret + method + path).encode()
    for name in sorted(values):
        text += f"{name}={values[name]}".encode()
    return base64.b64encode(hashlib.sha256(text + body).digest()).decode()[:43]


def signed_target(emulator: Emulator, path: str, method: str = "GET", **values: str) -> str:
    """Path and query of a signed API request, good for five minutes of the emulator's clock."""
    given = {
        "api_key": emulator.api_key,
        "expires": str(int(emulator.settings.clock()) + 300),
        **values,
    }
    given["signature"] = sign(emulator.api_secret, method, path, given)
    return path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())


@contextmanager
def connected(url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection to the host of ``url``, closed at the end."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def target_of(url: str) -> str:
    """Path and query of a URL, untouched."""
    return "/" + url.split("/", 3)[3]


def exchange(
    base_url: str, target: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Reply:
    """One request on a connection of its own."""
    with connected(base_url) as connection:
        connection.request(method, target, headers=dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())


def get(url: str, **headers: str) -> Reply:
    """GET a URL as it is; ``_`` in a header's name stands for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange(url, target_of(url), headers=named)


def call(emulator: Emulator, path: str, **values: str) -> Reply:
    """A signed GET of the API."""
    return exchange(emulator.api_url, signed_target(emulator, path, **values))


def walk(emulator: Emulator, path: str, **values: str) -> list[list[dict[str, Any]]]:
    """All pages of a list, each followed by its ``next_page``."""
    pages: list[list[dict[str, Any]]] = []
    while True:
        reply = call(emulator, path, **values)
        assert reply.status == 200, reply.body
        pages.append(reply.json["items"])
        following = reply.json.get("next_page")
        if following is None:
            return pages
        parts = urlsplit(following)
        assert not parts.netloc
        path, values = parts.path, dict(_pairs(parts.query))


def error_elements(reply: Reply) -> dict[str, str]:
    """The elements of an error document of the source side."""
    assert reply.headers["Content-Type"] == "application/xml"
    root = ElementTree.fromstring(reply.body)
    assert root.tag == "Error"
    return {element.tag: element.text or "" for element in root}


def true_bytes(emulator: Emulator, code: str, start: int, stop: int) -> bytes:
    """Bytes ``start`` to ``stop`` of an asset, without a socket."""
    content = emulator.library.get(code).content
    assert content is not None
    return content.read(start, stop - start)


def source_entry(emulator: Emulator, embed_code: str) -> dict[str, Any]:
    """The source's entry in ``/streams``."""
    entries = call(emulator, f"/v2/assets/{embed_code}/streams").json
    return next(entry for entry in entries if entry["is_source"] in (True, "true"))


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        yield unquote(name), unquote(value)
