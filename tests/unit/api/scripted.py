"""A transport that answers from a script, and a client on it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from backlotfs.api.client import ApiClient
from backlotfs.api.rate_limiter import CREDIT_WAIT_S, ApiRateLimiter
from backlotfs.api.transport import open_session
from backlotfs.concurrency.clock import Deadline
from backlotfs.config.settings import Account
from backlotfs.errors import BacklotError
from backlotfs.http.backoff import RetryPolicy
from tests.unit.api.manual_clock import ManualClock

KEY = "AbCdEfGhIjKlMnOpQrStUvWxYz01.KEYid"
SECRET = "0123456789abcdefghijABCDEFGHIJ-_klmnopqr"
E = "EMBEDCODEexample-000000000000_01"
API = "https://api.example"


@dataclass(frozen=True)
class Reply:
    """One scripted answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def reply(document: object, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; header names with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        status, json.dumps(document).encode(), {"Content-Type": "application/json"} | named
    )


def said(status: int, message: object, **headers: str) -> Reply:
    """An error answer with this message."""
    return reply({"message": message}, status, **headers)


Step = Reply | Exception | Callable[[str], Reply]


class ScriptedAdapter(BaseAdapter):
    """Takes one step of the script per request; a request too many fails the test."""

    def __init__(self, clock: ManualClock, steps: list[Step]) -> None:
        super().__init__()
        self.clock = clock
        self.steps = steps
        self.urls: list[str] = []
        self.timeouts: list[Any] = []
        self.headers: list[Mapping[str, str]] = []
        self.on_send: Callable[[], object] = lambda: None

    def send(  # type: ignore[override]  # the base spells the optional arguments out; none is used
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        url = request.url or ""
        self.on_send()
        self.urls.append(url)
        self.timeouts.append(options.get("timeout"))
        self.headers.append(dict(request.headers))
        assert self.steps, f"a request that the script does not expect: {urlsplit(url).path}"
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        answer = step if isinstance(step, Reply) else step(url)
        headers = {"Date": formatdate(self.clock.now(), usegmt=True), **answer.headers}
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(headers)
        response.url = url
        response.request = request
        response.raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body), headers=headers, status=answer.status, preload_content=False
        )
        return response

    def close(self) -> None:
        """Nothing is open."""

    def paths(self) -> list[str]:
        """Paths asked for, in order."""
        return [urlsplit(url).path for url in self.urls]

    def params(self, index: int = -1) -> dict[str, str]:
        """Decoded parameters of one request."""
        return dict(parse_qsl(urlsplit(self.urls[index]).query, keep_blank_values=True))


@dataclass
class Scripted:
    """A client, its transport and its clock."""

    client: ApiClient
    adapter: ScriptedAdapter
    clock: ManualClock
    limiter: ApiRateLimiter

    def deadline(self, seconds: float = 30.0) -> Deadline:
        """So many seconds from now."""
        return Deadline(seconds, self.clock)


def scripted(
    *steps: Step,
    cdn_url: str | None = None,
    api_url: str = API,
    retry: RetryPolicy | None = None,
    page_limit: int = 500,
    credit_wait_s: float = CREDIT_WAIT_S,
) -> Scripted:
    """A client whose requests are answered by ``steps``, one each; waits for credits take no time.

    :param credit_wait_s: longest wait for a credit.
    """
    clock = ManualClock()
    limiter = ApiRateLimiter(
        clock,
        credit_wait_s=credit_wait_s,
        wait=lambda _condition, seconds: clock.advance(seconds),
    )
    adapter = ScriptedAdapter(clock, list(steps))
    session = open_session(user_agent="test/1", pool_size=1)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    client = ApiClient(
        Account(api_url, KEY, SECRET, cdn_url),
        session,
        clock,
        retry=retry,
        page_limit=page_limit,
        limiter=limiter,
    )
    return Scripted(client, adapter, clock, limiter)


def good(**headers: str) -> Reply:
    """What `ask` is answered with."""
    return reply({"items": [{"id": E}]}, 200, **headers)


GOOD = good()


def ask(rig: Scripted, seconds: float = 30.0) -> str:
    """One call that needs one request."""
    return rig.client.labels(rig.deadline(seconds))[0].id


def refused(rig: Scripted, kind: type[BacklotError], seconds: float = 30.0) -> BacklotError:
    """The error that one call ends with, exactly of this kind or below."""
    with pytest.raises(kind) as caught:
        ask(rig, seconds)
    assert not rig.adapter.steps, "the script was not played to its end"
    return caught.value
