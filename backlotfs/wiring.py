"""Puts the layers together; the only module that knows every class."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import requests

from backlotfs import __version__, events
from backlotfs.api.client import ApiClient
from backlotfs.api.credentials import Credentials
from backlotfs.catalog.caption_crawl import CaptionCrawl
from backlotfs.catalog.catalog import Catalog, Change
from backlotfs.catalog.crawl_work import CrawlWork
from backlotfs.catalog.credit_watch import CreditWatch
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.catalog.purse import Purse
from backlotfs.catalog.rate_budget import RateBudget
from backlotfs.catalog.sizer import CRAWLERS, Probe, Sizer
from backlotfs.catalog.source_book import SourceBook
from backlotfs.catalog.store import CatalogStore
from backlotfs.catalog.sync import Synchronizer
from backlotfs.clock import Clock
from backlotfs.errors import BacklotError
from backlotfs.namespace.given_names import give_names
from backlotfs.namespace.inodes import inode_of
from backlotfs.namespace.name_modes import NameMode
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.shared_thumbnails import NamespaceWithThumbnails, namespace_class
from backlotfs.namespace.sidecars import NamespaceWithSidecars
from backlotfs.read_path import TRANSFER_THREADS, Observed, build_reader
from backlotfs.reading.disk.tier import DiskTier
from backlotfs.reading.handles import HandleTable
from backlotfs.reading.memory_use import MemoryUse
from backlotfs.reading.pin_keeper import PinKeeper
from backlotfs.reading.reader import SourceReader
from backlotfs.reading.source_lines import SourceLines
from backlotfs.reading.warming import Warmer
from backlotfs.remote.get_counts import GetCounts
from backlotfs.remote.host_shares import HostShares
from backlotfs.remote.identity import SourceIdentity
from backlotfs.remote.late_lookup import LateLookup
from backlotfs.remote.preview_images import PreviewImages
from backlotfs.remote.probe import SourceProbe
from backlotfs.remote.signed_get import Resolver, SignedGet
from backlotfs.remote.url_resolver import CurrentUrls, UrlResolver
from backlotfs.settings import Account, MountSettings
from backlotfs.thumbnails.shared import SharedPictures
from backlotfs.wire.breaker import Breakers
from backlotfs.wire.connections import ConnectionPool
from backlotfs.wire.dialing import Dialer
from backlotfs.wire.retrying import RetryPolicy
from backlotfs.wire.sessions import open_session
from backlotfs.wire.source_policy import SourcePolicy
from backlotfs.wire.tls import client_context
from backlotfs.workers import Workers

log = logging.getLogger(__name__)

USER_AGENT = f"backlotfs/{__version__}"
#: Threads for probes that somebody waits for. The catalog has a pool of its own: a refresh must
#: not wait behind hosts that are slow to answer.
PROBE_THREADS = 32


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


def open_api_session(account: Account) -> requests.Session:
    """A session for `open_api`, fit for as many threads as we start.

    :raises SettingsError: the account's ``ca_bundle`` cannot be used.
    """
    return open_session(
        user_agent=USER_AGENT,
        pool_size=PROBE_THREADS + CRAWLERS + TRANSFER_THREADS,
        ca_bundle=account.ca_bundle,
    )


@dataclass(frozen=True, slots=True)
class Stack:
    """The parts that the adapter and the command line speak to."""

    api: ApiClient
    store: CatalogStore
    purse: Purse
    resolver: UrlResolver
    book: SourceBook
    sizer: Sizer
    catalog: Catalog
    namespace: Namespace
    reader: SourceReader
    session: requests.Session
    connections: ConnectionPool
    lines: SourceLines
    disk: DiskTier | None
    observed: Observed
    gets: GetCounts
    warmer: Warmer
    previews: PreviewImages
    memory_use: Callable[[], MemoryUse]
    keeper: PinKeeper
    captions: CaptionCrawl | None

    def close(self) -> None:
        """Save what was learned, close idle connections; what is under way ends by itself."""
        try:
            self.sizer.close()
            if self.captions is not None:
                self.captions.close()
        except BacklotError as error:
            events.CRAWL_LOCKED.log(log, reason=error)
        self.keeper.close()
        self.book.close()
        self.connections.close()
        self.session.close()
        if self.disk is not None:
            self.disk.close()
        self.store.close()


def build_stack(
    settings: MountSettings,
    clock: Clock,
    *,
    settle_s: float,
    disk: DiskTier | None = None,
    invalidate: Callable[[Iterable[str]], None] = lambda _names: None,
    progress: Callable[[int], None] = lambda _assets: None,
) -> Stack:
    """Everything below the kernel adapter. Sends nothing yet; threads come with the work.

    :param settle_s: how long the kernel may believe attributes that have since changed.
    :param disk: keeps blocks over restarts; closed with the stack.
    :param invalidate: takes back from the kernel what these names in the root mean.
    :param progress: told the number of assets so far while a whole library is listed.
    """
    account = settings.account
    session = open_api_session(account)
    api = open_api(account, clock, session)
    purse = Purse(RateBudget(clock), lambda: api.rate, CreditWatch(clock).look)
    store = CatalogStore(
        settings.cache_dir,
        api_url=account.api_url,
        account=Credentials(account.api_key, account.api_secret).account,
        clock=clock,
        inode_of=inode_of,
    )
    policy = SourcePolicy.of(account.api_url, account.allow_source_hosts)
    dialer = Dialer(policy, client_context(account.ca_bundle))
    connections = ConnectionPool(dialer, user_agent=USER_AGENT, breakers=Breakers(clock))
    retry = RetryPolicy()
    resolver = UrlResolver(api, clock)
    lines = SourceLines(clock)
    gets = GetCounts(lines)
    late = LateLookup(api)
    late_urls = UrlResolver(late, clock, seen=resolver.offer)

    def signed_get(urls: Resolver, shares: HostShares | None = None) -> SignedGet:
        return SignedGet(urls, connections, clock, retry, policy=policy, meter=gets, shares=shares)

    probe_shares = HostShares()

    def probe_of(urls: UrlResolver) -> Probe:
        return SourceProbe(signed_get(CurrentUrls(urls), probe_shares), urls.reported_size).probe

    late_probe = probe_of(late_urls)
    handles = HandleTable()
    probers = Workers(PROBE_THREADS, "probe")
    mode = NameMode(settings.names)

    def crawl_probe(embed_code: str) -> Probe | None:
        row = catalog.row(embed_code) if account.cdn_url is not None else None
        known = row is not None and late.knows_of(row.updated_at_s, clock.now())
        return late_probe if known else None

    def source_changed(embed_code: str, current: SourceIdentity | None) -> None:
        if current is not None:
            events.SOURCE_REPLACED.log(log, embed_code=embed_code, size=current.size)
        # The old version's URL may go on serving the old version: it must not be used again.
        if current is None or not resolver.knows(embed_code):
            resolver.forget(embed_code)
        reader.source_changed(embed_code, current)
        keeper.source_changed(embed_code)
        invalidate(namespace.names_in_root([embed_code]))

    def published(change: Change) -> None:
        book.published(change.probed)
        for row in change.removed:
            book.forget(row.embed_code)
        # Whatever a probe said shortly before: the record was touched, so it is asked again.
        touched = [row.embed_code for row in change.updated]
        for code in touched:
            resolver.touched(code)
            late_urls.touched(code)
            book.doubt(code)  # last: whoever sees the doubt probes with a new URL
        sizer.doubted(code for code in touched if book.known(code) is not None)
        invalidate(change.stale_names)
        invalidate(row.name for row in change.new + change.updated)
        if change.new:
            sizer.crawl()
        for row in change.removed:  # not those that are only not presented any more
            if keeper.pins.of(row.embed_code) and catalog.record(row.embed_code) is None:
                keeper.deleted(row.embed_code)

    synchronizer = Synchronizer(
        api, store, purse, clock, with_labels="labels" in settings.layouts, progress=progress
    )
    admit = AssetFilter(settings.types or SOURCE_TYPES, settings.statuses)
    catalog = Catalog(
        store,
        synchronizer,
        Workers(1, "catalog"),
        clock,
        name_mode=mode,
        give_names=lambda store: give_names(store, mode),
        ttl_s=settings.metadata_ttl_s,
        admit=admit,
    )
    book = SourceBook(
        clock,
        catalog.row,
        store.save_sources,
        source_changed,
        settle_s=settle_s,
        superseding=handles.mark_changed,
    )
    sizer = Sizer(
        probe_of(resolver),
        crawl_probe,
        resolver.knows,
        book,
        CrawlWork(store, admit.types),
        purse,
        probers,
        Workers(CRAWLERS, "crawler"),
        clock,
    )
    captions = None
    if settings.captions:
        captions = CaptionCrawl(api, store, purse, catalog, sizer, admit, clock)
        catalog.subscribe(captions.published)
    previews = PreviewImages(connections, clock, policy)
    thumbnails = settings.shared_thumbnails is not None
    beside = settings.sidecars or settings.captions
    namespace = namespace_class(sidecars=beside, thumbnails=thumbnails)(
        catalog,
        book,
        sizer,
        layouts=settings.layouts,
        names=mode,
        umask=settings.umask,
        include_unavailable=settings.include_unavailable,
        local=lambda code: path.local(code),
        failed=lambda code, name, error: path.observed.failures.note(code, name, error),
    )
    if isinstance(namespace, NamespaceWithSidecars):
        namespace.choose(json=settings.sidecars, captions=captions.book if captions else None)
    if isinstance(namespace, NamespaceWithThumbnails):
        pictures = SharedPictures(previews.fetch, clock, software=f"backlotfs {__version__}")
        namespace.show(pictures, listed=settings.shared_thumbnails == "listed")
    catalog.subscribe(published)
    catalog.subscribe(lambda change: book.found_elsewhere(change.replaced), beforehand=True)
    path = build_reader(settings, handles, signed_get(resolver), book, lines, disk, clock)
    reader, keeper = path.reader, path.keeper
    return Stack(
        api,
        store,
        purse,
        resolver,
        book,
        sizer,
        catalog,
        namespace,
        reader,
        session,
        connections,
        lines,
        disk,
        path.observed,
        gets,
        path.warmer,
        previews,
        path.memory_use,
        keeper,
        captions,
    )
