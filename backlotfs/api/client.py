"""The routes of the Backlot API that a read-only client needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import quote

import requests

from backlotfs.api import parsing
from backlotfs.api.bounded_json import MAX_RECORD_CHARS, read_document
from backlotfs.api.credentials import Credentials
from backlotfs.api.listing_limits import IN_MEMORY, ListingMeter
from backlotfs.api.page_size import PageSize
from backlotfs.api.paging import walk
from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Purpose, Turn
from backlotfs.api.records import Asset, DeletedAsset, Label, Page, Source
from backlotfs.api.requester import SignedRequester
from backlotfs.api.transport import DEFAULT_LIMITS
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import NoSuchEntry, SourceMissing
from backlotfs.http.backoff import RetryPolicy
from backlotfs.log import events

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_ASSETS = "/v2/assets"
_DELETED = "/v2/deleted_assets"
_LABELS = "/v2/labels"
#: A page of 500 names costs as much as one size, and without it nothing new is shown: listings do
#: not stand behind the sizes that a long copy asks for.
_LISTING = Purpose(Priority.WAITING)
#: More is no caption document: a day of speech is 1 MB.
MAX_CAPTION_BYTES = 4 * 1024 * 1024


class ApiClient:
    """Signed GETs on one account, as records. Any number of threads may use one client.

    Every method raises, beside what it names itself:

    - :class:`CredentialsRefused` for 401 and 403 (never retried), :class:`ClockSkewed` when that
      comes of this machine's clock;
    - :class:`NoSuchEntry` for 404;
    - :class:`RateLimited` when no credit came within the rate limiter's longest wait;
    - :class:`RemoteUnavailable` when connecting or the server (5xx) kept failing;
    - :class:`DeadlineExceeded` when the time ended first;
    - :class:`ProtocolViolation` for answers that cannot be what was asked for.

    ``fresh=False`` lets the CDN host answer, if there is one: free of credits, up to 5 minutes
    late. No error, log line or exception chain holds the secret, a signature or a signed URL.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        api_url: str,
        session: requests.Session,
        clock: Clock,
        limiter: ApiRateLimiter | None = None,
        cdn_url: str | None = None,
        retry: RetryPolicy | None = None,
        page_limit: int = 500,
        limits: TimeLimits = DEFAULT_LIMITS,
    ) -> None:
        """Nothing is sent yet; the caller keeps the session and closes it.

        :param limiter: paces the calls of the API's own host; None: one of its own.
        :param page_limit: assets per page asked for; a server may cap it lower, and after a
            time-out fewer are asked for.
        :param limits: how long to wait for an answer.
        :raises SettingsError: when a URL is none.
        :raises ValueError: for a page limit below 1.
        """
        self._page_size = PageSize(page_limit, limits.answer_s)
        self._clock = clock
        self._requester = SignedRequester(
            credentials,
            api_url=api_url,
            session=session,
            clock=clock,
            cdn_url=cdn_url,
            retry=retry or RetryPolicy(),
            limiter=limiter or ApiRateLimiter(clock),
            limits=limits,
        )

    @property
    def clock_skew_s(self) -> float:
        """Server's clock minus ours, by the last uncached answer's ``Date``; 0.0 until known."""
        return self._requester.clock_skew_s

    def iter_pages(
        self,
        *,
        deadline: Deadline,
        where: str | None = None,
        include: str | None = None,
        start: str | None = None,
    ) -> Iterator[Page[Asset]]:
        """The library, page by page, newest first.

        :param where: filter in the API's own language; a server without filters ignores it.
        :param include: ``metadata``, ``labels``, ``streams`` or several of them, with commas.
        :param start: a page's ``next_page``, to go on there; the filter is in it.
        :raises ProtocolViolation: also when the pages go round in a circle.
        """
        options = {"where": where, "include": include}
        params = {name: value for name, value in options.items() if value}
        return self._pages(
            _ASSETS,
            params,
            parsing.parse_asset_page,
            deadline=deadline,
            size=self._page_size,
            start=start,
        )

    def iter_deleted(self, *, deadline: Deadline) -> Iterator[Page[DeletedAsset]]:
        """Recently deleted assets, page by page, newest deletion first."""
        return self._pages(
            _DELETED, {}, parsing.parse_deleted_page, deadline=deadline, size=self._page_size
        )

    def get_asset(
        self,
        embed_code: str,
        *,
        deadline: Deadline,
        include: str | None = None,
        fresh: bool = True,
    ) -> Asset:
        """One asset's record."""
        params = {"include": include} if include else {}
        route = _route(_ASSETS, embed_code)
        return self._record(
            route, params, parsing.parse_asset, deadline=deadline, purpose=_LISTING, fresh=fresh
        )

    def get_source(
        self,
        embed_code: str,
        *,
        deadline: Deadline,
        priority: Priority = Priority.WAITING,
        turn: Turn | None = None,
        fresh: bool = True,
    ) -> Source:
        """Size and a new signed URL of an asset's source file.

        :param priority: in the rate limiter's queue, where the call is named by its embed code.
        :param turn: a turn that was taken for this already.

        ``/streams`` is asked first; without a source entry there, ``/source_file_info``. A source
        with a null URL is returned as it is.

        :raises SourceMissing: neither route knows a source.
        """
        streams = _route(_ASSETS, embed_code, "streams")
        info = _route(_ASSETS, embed_code, "source_file_info")
        purpose = Purpose(priority, embed_code, turn)
        try:
            found = self._record(
                streams, {}, parsing.parse_streams, deadline=deadline, purpose=purpose, fresh=fresh
            )
        except NoSuchEntry:
            found = None
        if found is not None:
            return found
        try:
            source = self._record(
                info,
                {},
                parsing.parse_source_file_info,
                deadline=deadline,
                purpose=purpose,
                fresh=fresh,
            )
        except NoSuchEntry:
            source = Source(None, None)
        if source.url is None and source.file_size is None:
            raise SourceMissing(f"the API knows no source file for {embed_code}")
        return source

    def get_captions(self, embed_code: str, *, deadline: Deadline) -> bytes:
        """The caption document of an asset as it is, of a kind that only its bytes tell.

        Without captions it is empty, or an empty piece of JSON, or the answer is
        :class:`NoSuchEntry`: the API's documentation does not say.

        :raises ProtocolViolation: more than :data:`MAX_CAPTION_BYTES`.
        """
        route = _route(_ASSETS, embed_code, "closed_captions")
        return self._requester.get(
            route,
            {},
            lambda body: body,
            accept="*/*",
            deadline=deadline,
            purpose=Purpose(Priority.BACKGROUND),
            limit_bytes=MAX_CAPTION_BYTES,
        )

    def labels(self, deadline: Deadline) -> tuple[Label, ...]:
        """Every label of the account."""
        found: list[Label] = []
        meter = ListingMeter("labels", IN_MEMORY)
        for page in self._pages(_LABELS, {}, parsing.parse_labels, deadline=deadline):
            meter.page_in_memory([label.id for label in page.items], size_bytes=page.size_bytes)
            found.extend(page.items)
            for reason in page.skipped:
                events.LABEL_SKIPPED.log(_LOG, route=_LABELS, reason=reason)
            if page.skipped_more:
                reason = f"so are {page.skipped_more} more of this page"
                events.LABEL_SKIPPED.log(_LOG, route=_LABELS, reason=reason)
        return tuple(found)

    def _record(
        self,
        route: str,
        params: Mapping[str, str],
        parse: Callable[[object], T],
        *,
        deadline: Deadline,
        purpose: Purpose,
        fresh: bool,
    ) -> T:
        """What ``parse`` makes of an answer about one asset."""
        return self._requester.get(
            route,
            params,
            lambda body: parse(read_document(body)),
            deadline=deadline,
            purpose=purpose,
            fresh=fresh,
            limit_bytes=MAX_RECORD_CHARS,
        )

    def _pages(
        self,
        route: str,
        first: Mapping[str, str],
        parse: Callable[[bytes], Page[T]],
        *,
        deadline: Deadline,
        size: PageSize | None = None,
        start: str | None = None,
    ) -> Iterator[Page[T]]:
        """Page by page; the parameters are those of `walk`."""

        def fetch(params: Mapping[str, str], *, retry_timeouts: bool) -> Page[T]:
            return self._requester.get(
                route,
                params,
                parse,
                deadline=deadline,
                purpose=_LISTING,
                retry_timeouts=retry_timeouts,
            )

        return walk(
            fetch,
            route=route,
            first=first,
            deadline=deadline,
            clock=self._clock,
            size=size,
            start=start,
            prefix=self._requester.api.prefix,
        )


def _route(collection: str, identifier: str, *rest: str) -> str:
    """``/v2/assets/<id>/streams``, percent-encoded.

    :raises NoSuchEntry: for what cannot be an id, and in a path would name something else.
    """
    if not parsing.is_identifier(identifier):
        raise NoSuchEntry(f"{identifier!r} cannot be an id of the library")
    encoded = quote(identifier, safe="", errors="replace")
    return "/".join((collection, encoded, *rest))
