"""Puts the layers together; the only module that knows every class."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import requests

from backlotfs import __version__
from backlotfs.api.client import ApiClient
from backlotfs.api.credentials import Credentials
from backlotfs.api.listing_limits import ListingLimits
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import MemoryUse
from backlotfs.catalog.captions import CaptionBackfill
from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.db.store import CatalogStore
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter, CatalogDelta
from backlotfs.catalog.probe_scheduler import (
    PROBE_THREADS,
    ProbeScheduler,
    StoredBackfill,
)
from backlotfs.catalog.sync import Synchronizer
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers
from backlotfs.config.settings import Account, MountSettings
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.fetch.get_counts import GetCounts
from backlotfs.fetch.hosts import HostRegistry
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.fetch.warm import Warmer
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.circuit_breaker import Breakers
from backlotfs.http.dialer import Dialer
from backlotfs.http.pool import ConnectionPool
from backlotfs.http.sessions import open_session
from backlotfs.http.tls import client_context
from backlotfs.log import events
from backlotfs.mount.read_path import TRANSFER_THREADS, URL_WAITERS, Metrics, build_reader
from backlotfs.namespace.given_names import give_names
from backlotfs.namespace.inodes import inode_of
from backlotfs.namespace.name_modes import NameMode
from backlotfs.namespace.namespace import Namespace, UnsizedRules
from backlotfs.namespace.shared_thumbnails import NamespaceWithThumbnails, namespace_class
from backlotfs.namespace.sidecars import NamespaceWithSidecars
from backlotfs.open_files.handles import HandleTable
from backlotfs.open_files.reader import SourceReader
from backlotfs.source.host_shares import HostShares
from backlotfs.source.preview_images import PreviewImages
from backlotfs.source.probe import SourceProbe
from backlotfs.source.saved_urls import SavedUrls, delete_saved_urls
from backlotfs.source.signed_get import Resolver, SignedGet
from backlotfs.source.url_resolver import CurrentUrls, UrlResolver
from backlotfs.source.version import SourceVersion
from backlotfs.thumbnails.shared import SharedPictures

log = logging.getLogger(__name__)

USER_AGENT = f"backlotfs/{__version__}"


def open_api(
    account: Account,
    clock: Clock,
    session: requests.Session,
    *,
    limiter: ApiRateLimiter | None = None,
    page_limit: int = 500,
    retry: RetryPolicy | None = None,
) -> ApiClient:
    """A client of the account's API over ``session``, which stays the caller's to close.

    :param limiter: paces its calls; None: one of its own.
    """
    return ApiClient(
        Credentials(account.api_key, account.api_secret),
        api_url=account.api_url,
        cdn_url=account.cdn_url,
        session=session,
        clock=clock,
        limiter=limiter,
        page_limit=page_limit,
        retry=retry,
        limits=account.limits,
    )


def open_api_session(account: Account) -> requests.Session:
    """A session for `open_api`, fit for as many threads as we start.

    :raises SettingsError: the account's ``ca_bundle`` cannot be used.
    """
    return open_session(
        user_agent=USER_AGENT,
        pool_size=1 + PROBE_THREADS + TRANSFER_THREADS + URL_WAITERS,
        ca_bundle=account.ca_bundle,
    )


@dataclass(frozen=True, slots=True)
class Stack:
    """The parts that the adapter and the command line speak to."""

    api: ApiClient
    limiter: ApiRateLimiter
    store: CatalogStore
    resolver: UrlResolver
    book: SourceVersionCache
    probes: ProbeScheduler
    catalog: Catalog
    namespace: Namespace
    reader: SourceReader
    session: requests.Session
    connections: ConnectionPool
    lines: HostRegistry
    disk: DiskTier | None
    observed: Metrics
    gets: GetCounts
    warmer: Warmer
    previews: PreviewImages
    memory_use: Callable[[], MemoryUse]
    keeper: PinReconciler
    captions: CaptionBackfill | None
    saved_urls: SavedUrls | None

    def close(self) -> None:
        """Save what was learned, close idle connections; what is under way ends by itself."""
        self.limiter.close()
        try:
            self.probes.close()
            if self.captions is not None:
                self.captions.close()
        except BacklotError as error:
            events.BACKFILL_LOCKED.log(log, reason=error)
        self.keeper.close()
        self.book.close()
        if self.saved_urls is not None:
            self.saved_urls.close()
        self.connections.close()
        self.session.close()
        if self.disk is not None:
            self.disk.close()
        self.store.close()


def open_saved_urls(settings: MountSettings, clock: Clock) -> SavedUrls | None:
    """The presigned URLs that earlier mounts have kept; None where none are to be kept.

    :raises SettingsError: they were to be deleted, and that cannot be done.
    """
    account = settings.account
    library = LibraryIdentity.of(
        account.api_url, Credentials(account.api_key, account.api_secret).account
    )
    path = settings.cache_dir / "urls" / f"{library.digest}.sqlite3"
    if settings.forget_urls:
        try:
            delete_saved_urls(path)
        except (OSError, sqlite3.Error) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise SettingsError(
                f"the saved URLs cannot be deleted ({reason}); delete {path}"
            ) from None
    return SavedUrls(path, clock) if settings.keeps_urls else None


def build_stack(
    settings: MountSettings,
    clock: Clock,
    *,
    settle_s: float,
    disk: DiskTier | None = None,
    invalidate: Callable[[Iterable[str]], None] = lambda _names: None,
    progress: Callable[[int], None] = lambda _assets: None,
    rules: UnsizedRules | None = None,
) -> Stack:
    """Everything below the kernel adapter. Sends nothing yet; threads come with the work.

    :param settle_s: how long the kernel may believe attributes that have since changed.
    :param disk: keeps blocks over restarts; closed with the stack.
    :param invalidate: takes back from the kernel what these names in the root mean.
    :param progress: told the number of assets so far while a whole library is listed.
    :param rules: who waits for a size that is not known yet; None: everybody.
    :raises SettingsError: see `open_api_session` and `open_saved_urls`.
    """
    account = settings.account
    session = open_api_session(account)
    limiter = ApiRateLimiter(clock, credit_wait_s=settings.credit_wait_s)
    api = open_api(account, clock, session, limiter=limiter)
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

    def cdn_must_know_s(embed_code: str) -> float | None:
        row = catalog.row(embed_code) if account.cdn_url is not None else None
        return None if row is None else row.updated_at_s

    saved_urls = open_saved_urls(settings, clock)
    resolver = UrlResolver(api, limiter, clock, updated_at_s=cdn_must_know_s, saved=saved_urls)
    lines = HostRegistry(clock)
    gets = GetCounts(lines)

    def signed_get(urls: Resolver, shares: HostShares | None = None) -> SignedGet:
        return SignedGet(urls, connections, clock, retry, policy=policy, meter=gets, shares=shares)

    probe_shares = HostShares()

    handles = HandleTable()
    probers = Workers(PROBE_THREADS, "probe")
    mode = NameMode(settings.names)

    def source_changed(embed_code: str, current: SourceVersion | None) -> None:
        if current is not None:
            events.SOURCE_REPLACED.log(log, embed_code=embed_code, size=current.size)
        # The old version's URL may go on serving the old version: it must not be used again.
        if current is None or not resolver.has_fresh(embed_code):
            resolver.forget(embed_code)
        reader.source_changed(embed_code, current)
        keeper.source_changed(embed_code)
        invalidate(namespace.names_in_root([embed_code]))

    def updated_at_s(embed_code: str) -> float | None:
        row = catalog.row(embed_code)
        return None if row is None else row.updated_at_s

    def published(change: CatalogDelta) -> None:
        resolver.check_saved(updated_at_s)
        book.published(change.probed)
        for row in change.removed:
            book.forget(row.embed_code)
        # Whatever a probe said shortly before: the record was touched, so it is asked again.
        touched = [row.embed_code for row in change.updated]
        for code in touched:
            resolver.invalidate_on_change(code)
            book.invalidate(code)  # last: whoever sees the doubt probes with a new URL
        for row in change.new:
            if row.size >= 0 and not row.verified:  # touched while it was not presented
                resolver.invalidate_on_change(row.embed_code)
        probes.enqueue_stale(code for code in touched if book.known(code) is not None)
        invalidate(change.stale_names)
        invalidate(row.name for row in change.new + change.updated)
        if change.new:
            probes.start_backfill()
        for row in change.removed:  # not those that are only not presented any more
            if keeper.pins.of(row.embed_code) and catalog.record(row.embed_code) is None:
                keeper.deleted(row.embed_code)

    synchronizer = Synchronizer(
        api,
        store,
        clock,
        with_labels="labels" in settings.layouts,
        limits=ListingLimits(settings.max_assets, settings.max_listing_bytes),
        progress=progress,
        on_source=resolver.put_if_absent,
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
    book = SourceVersionCache(
        clock,
        catalog.row,
        store.save_sources,
        source_changed,
        settle_s=settle_s,
        superseding=handles.mark_changed,
    )
    probes = ProbeScheduler(
        resolver,
        SourceProbe(signed_get(CurrentUrls(resolver), probe_shares), resolver.reported_size).probe,
        book,
        StoredBackfill(store, admit.types),
        limiter,
        probers,
        clock,
    )
    # Not less than what somebody waits for: a probe that goes on is of use to the next who asks.
    probes.deadline_s = max(
        account.limits.probe_s, settings.stat_timeout_s or 0.0, settings.read_timeout_s or 0.0
    )
    captions = None
    if settings.captions:
        captions = CaptionBackfill(
            api, store, catalog, probes, admit, clock, ask_s=account.limits.captions_s
        )
        catalog.subscribe(captions.published)
    previews = PreviewImages(connections, clock, policy)
    thumbnails = settings.shared_thumbnails is not None
    beside = settings.sidecars or settings.captions
    namespace = namespace_class(sidecars=beside, thumbnails=thumbnails)(
        catalog,
        book,
        probes,
        layouts=settings.layouts,
        names=mode,
        umask=settings.umask,
        include_unavailable=settings.include_unavailable,
        rules=rules,
        local=lambda code: path.local(code),
        failed=lambda code, name, error: path.observed.failures.note(code, name, error),
    )
    if isinstance(namespace, NamespaceWithSidecars):
        namespace.choose(json=settings.sidecars, captions=captions.book if captions else None)
    if isinstance(namespace, NamespaceWithThumbnails):
        pictures = SharedPictures(previews.fetch, clock, software=f"backlotfs {__version__}")
        namespace.show(pictures, listed=settings.shared_thumbnails == "listed")
    catalog.subscribe(published)
    catalog.subscribe(lambda change: book.apply_external(change.replaced), beforehand=True)
    path = build_reader(
        settings, handles, signed_get(resolver), book, lines, disk, clock, probes.is_queued
    )
    reader, keeper = path.reader, path.keeper
    return Stack(
        api,
        limiter,
        store,
        resolver,
        book,
        probes,
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
        saved_urls,
    )
