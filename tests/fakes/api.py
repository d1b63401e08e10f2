# SPDX-License-Identifier: Apache-2.0
"""APIs that answer from a script or from lists of the test."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
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
from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Turn
from backlotfs.api.records import Asset, DeletedAsset, Label, Page, SignedUrl, Source
from backlotfs.api.session import ApiSession
from backlotfs.api.transport import open_session
from backlotfs.concurrency.clock import Deadline
from backlotfs.config.settings import Account
from backlotfs.config.time_limits import CREDIT_WAIT_S
from backlotfs.errors import BacklotError, RemoteUnavailable
from backlotfs.http.backoff import RetryPolicy
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S

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

    def session() -> requests.Session:
        made = open_session(user_agent="test/1", pool_size=1)
        made.mount("https://", adapter)
        made.mount("http://", adapter)
        return made

    client = ApiClient(
        Account(api_url, KEY, SECRET, cdn_url),
        ApiSession(session),
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


class NumberedApi(ApiClient):
    """Signs ``…?n=1``, ``…?n=2`` on a server whose clock differs by ``clock_skew_s``."""

    def __init__(self, clock: ManualClock, *, life_s: float | None = 3600.0) -> None:
        self.clock = clock
        self.life_s = life_s
        self.clock_skew_s = 0.0
        self.calls: list[str] = []
        self.gate: threading.Event | None = None
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.has_url = True
        self.priorities: list[Priority] = []
        self.turns: list[Turn | None] = []
        self.limiter: ApiRateLimiter | None = None
        self.has_cdn = True
        self.cdn_calls: list[str] = []
        self.cdn_answer: Source | Exception = RemoteUnavailable("no CDN host")

    @property
    def has_cdn_host(self) -> bool:
        """As the test says."""
        return self.has_cdn

    def get_source(
        self,
        embed_code: str,
        *,
        deadline: Deadline,
        priority: Priority = Priority.WAITING,
        turn: Turn | None = None,
        fresh: bool = True,
    ) -> Source:
        """The next URL; the CDN host gives what the test says. A call waits for `limiter`."""
        if not fresh:
            self.cdn_calls.append(embed_code)
            if isinstance(self.cdn_answer, Exception):
                raise self.cdn_answer
            return self.cdn_answer
        if self.limiter is not None:
            self.limiter.acquire(priority, key=embed_code, deadline=deadline)
        self.priorities.append(priority)
        self.turns.append(turn)
        self.calls.append(embed_code)
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        if not self.has_url:
            return Source(None, 5)
        dies_at = None
        if self.life_s is not None:
            dies_at = self.clock.now() + self.clock_skew_s + self.life_s
        return Source(SignedUrl(f"http://o/{embed_code}?n={len(self.calls)}", dies_at), 5)


class ListedApi:
    """Pages of two assets; filters by ``updated_at`` unless it is told to ignore ``where``.

    :ivar calls: ``walk``, ``walk from <cursor>``, ``since <time>``, ``deleted`` or ``labels``.
    :ivar fail_at: raise `error` at the so-many-th page of the next listing, from 1.
    """

    def __init__(self) -> None:
        self.assets: list[Asset] = []
        self.deleted: list[DeletedAsset] = []
        self.all_labels: tuple[Label, ...] = ()
        self.calls: list[str] = []
        self.heeds_where = True
        self.included: set[str | None] = set()
        self.fail_at = 0
        self.error: BacklotError | None = None
        self.deleted_error: BacklotError | None = None
        self.skipped: tuple[str, ...] = ()

    def iter_pages(
        self,
        *,
        deadline: Deadline,
        where: str | None = None,
        include: str | None = None,
        start: str | None = None,
    ) -> Iterator[Page[Asset]]:
        """Newest first."""
        self.included.add(include)
        assets = sorted(self.assets, key=lambda asset: (-asset.created_at_s, asset.embed_code))
        if where is None:
            self.calls.append("walk" if start is None else f"walk from {start}")
        else:
            moment = where.partition("'")[2].rstrip("'")
            self.calls.append(f"since {moment}")
            if self.heeds_where:
                since = int(moment[11:13]) * 3600 + int(moment[14:16]) * 60 + int(moment[17:19])
                assets = [asset for asset in assets if asset.updated_at_s > since]
        first = 0 if start is None else int(start)
        for number, at in enumerate(range(first, max(1, len(assets)), PAGE), 1):
            if self.error is not None and number == self.fail_at:
                raise self.error
            more = at + PAGE < len(assets)
            skipped = self.skipped if at == 0 else ()
            yield Page(tuple(assets[at : at + PAGE]), skipped, str(at + PAGE) if more else None)

    def iter_deleted(self, *, deadline: Deadline) -> Iterator[Page[DeletedAsset]]:
        """Newest deletion first."""
        self.calls.append("deleted")
        if self.deleted_error is not None:
            raise self.deleted_error
        yield Page(tuple(self.deleted), (), None)

    def labels(self, deadline: Deadline) -> tuple[Label, ...]:
        """Every label."""
        self.calls.append("labels")
        return self.all_labels


PAGE = 2
