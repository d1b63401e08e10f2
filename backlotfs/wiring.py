"""Puts the layers together; the only module that knows every class."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import requests

from backlotfs import __version__
from backlotfs.api.client import ApiClient
from backlotfs.api.credentials import Credentials
from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.catalog.sizer import Sizer
from backlotfs.catalog.source_book import SourceBook
from backlotfs.clock import Clock, Deadline
from backlotfs.namespace.namespace import Namespace
from backlotfs.reading.block_cache import MemoryBlockCache
from backlotfs.reading.block_store import BlockStore
from backlotfs.reading.fetch_queue import FetchQueue
from backlotfs.reading.handles import HandleTable
from backlotfs.reading.reader import SourceReader
from backlotfs.remote.identity import SourceIdentity
from backlotfs.remote.probe import SourceProbe
from backlotfs.remote.range_fetcher import RangeFetcher
from backlotfs.remote.signed_get import SignedGet
from backlotfs.remote.url_resolver import UrlResolver
from backlotfs.settings import Account, MountSettings
from backlotfs.wire.connections import ConnectionPool
from backlotfs.wire.retrying import RetryPolicy
from backlotfs.wire.sessions import open_session
from backlotfs.workers import Workers

log = logging.getLogger(__name__)

USER_AGENT = f"backlotfs/{__version__}"
#: One block is what the kernel asks for at most, so a sequential read is one block, uncopied.
BLOCK_BYTES = 128 * 1024
#: Threads for transfers: stalled sources may hold many of them without stopping the others.
TRANSFER_THREADS = 192
#: Threads for probes and refreshes.
CATALOG_THREADS = 32
#: The API is asked one small question before anything else, and has to answer within this.
GREETING_DEADLINE_S = 3.5


def open_api(
    account: Account, clock: Clock, session: requests.Session, *, page_limit: int = 500
) -> ApiClient:
    """A client of the account's API over ``session``, which stays the caller's to close."""
    return ApiClient(
        Credentials(account.api_key, account.api_secret),
        api_url=account.api_url,
        cdn_url=account.cdn_url,
        session=session,
        clock=clock,
        page_limit=page_limit,
    )


def open_api_session() -> requests.Session:
    """A session for `open_api`, fit for as many threads as we start."""
    return open_session(user_agent=USER_AGENT, pool_size=CATALOG_THREADS + TRANSFER_THREADS)


def greet(account: Account, clock: Clock, session: requests.Session) -> None:
    """Is the API there, and does it accept us?

    :raises BacklotError: with the reason, within `GREETING_DEADLINE_S`.
    """
    api = open_api(account, clock, session, page_limit=1)
    next(api.iter_pages(deadline=Deadline(GREETING_DEADLINE_S, clock)), None)


@dataclass(frozen=True, slots=True)
class Stack:
    """The parts that the adapter and the command line speak to."""

    catalog: Catalog
    namespace: Namespace
    reader: SourceReader
    session: requests.Session
    connections: ConnectionPool

    def close(self) -> None:
        """Close idle connections; what is under way ends by itself."""
        self.connections.close()
        self.session.close()


def build_stack(settings: MountSettings, clock: Clock, *, settle_s: float) -> Stack:
    """Everything below the kernel adapter. Sends nothing yet; threads come with the work.

    :param settle_s: how long the kernel may believe attributes that have since changed.
    """
    session = open_api_session()
    api = open_api(settings.account, clock, session)
    resolver = UrlResolver(api, clock)
    retry = RetryPolicy()
    connections = ConnectionPool(user_agent=USER_AGENT)
    signed_get = SignedGet(resolver, connections, clock, retry)
    handles = HandleTable()

    def source_changed(embed_code: str, current: SourceIdentity | None) -> None:
        # The old version's URL may go on serving the old version: it must not be used again.
        resolver.forget(embed_code)
        handles.mark_changed(embed_code, current.validator if current else None)

    book = SourceBook(clock, source_changed, settle_s=settle_s)
    workers = Workers(CATALOG_THREADS, "catalog")
    admit = AssetFilter(settings.types or SOURCE_TYPES, settings.statuses)
    catalog = Catalog(api, book, workers, clock, ttl_s=settings.metadata_ttl_s, admit=admit)
    sizer = Sizer(SourceProbe(signed_get).probe, book, catalog.updated_at, workers, clock)
    namespace = Namespace(
        catalog,
        book,
        sizer,
        umask=settings.umask,
        include_unavailable=settings.include_unavailable,
    )
    # One budget: a quarter for what is under way, the rest for what is kept.
    under_way = settings.memory_bytes // 4
    cache = MemoryBlockCache(settings.memory_bytes - under_way)
    store = BlockStore(
        cache,
        RangeFetcher(signed_get).fetch,
        FetchQueue(Workers(TRANSFER_THREADS, "transfer")),
        clock,
        block_bytes=BLOCK_BYTES,
        ahead_budget_bytes=under_way,
        changed=book.contradicted,
    )
    # Half of what is kept: the other half stays for what was already read.
    reader = SourceReader(handles, store, window_budget_bytes=cache.budget_bytes // 2)
    return Stack(catalog, namespace, reader, session, connections)
