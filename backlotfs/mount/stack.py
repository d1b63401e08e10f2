# SPDX-License-Identifier: Apache-2.0
"""Builds all parts of a mount except the kernel adapter, and connects them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backlotfs import __version__
from backlotfs.api.client import ApiClient
from backlotfs.api.paging import ListingLimits
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.session import ApiSession
from backlotfs.api.signing import Credentials
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.catalog.captions import CaptionBackfill
from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.choice import Choice
from backlotfs.catalog.db.assets import save_sources
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter, Presented
from backlotfs.catalog.probe_scheduler import (
    PROBE_THREADS,
    Backfill,
    ProbeScheduler,
)
from backlotfs.catalog.sync import Synchronizer
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers
from backlotfs.config.settings import Account, MountSettings, NameMode
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.http.dialer import check_ca_bundle
from backlotfs.kernel.notifier import Notifier
from backlotfs.log import events
from backlotfs.log.redaction import redact_library_logs
from backlotfs.log.traces import Tracing
from backlotfs.mount.read_path import (
    TRANSFER_THREADS,
    URL_WAITERS,
    PassesThrough,
    ReadPath,
    SourceParts,
    build_read_path,
)
from backlotfs.mount.replacement import Replacement
from backlotfs.mount.transport import USER_AGENT, Transport
from backlotfs.mount.walk_folders import WalkFolders
from backlotfs.namespace.namespace import Namespace, Provider, ReadState, TreeOptions
from backlotfs.namespace.naming import catalog_naming
from backlotfs.namespace.providers.sidecars import CaptionSidecars, JsonSidecars
from backlotfs.namespace.providers.thumbnails import Thumbnails
from backlotfs.namespace.sizes import UnsizedRules
from backlotfs.open_files.reader import HandleTable
from backlotfs.source.etag_aliases import EtagAliases
from backlotfs.source.host_shares import HostShares
from backlotfs.source.preview_images import PreviewImages
from backlotfs.source.range_reader import SourceProbe
from backlotfs.source.saved_urls import SavedUrls, delete_saved_urls
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion
from backlotfs.thumbnails.shared import SharedPictures

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)


def open_api_session(account: Account) -> ApiSession:
    """Open an API session with a connection pool large enough for all threads.

    :raises SettingsError: the account's ``ca_bundle`` cannot be used.
    """
    check_ca_bundle(account.ca_bundle)
    redact_library_logs()  # the connections to source hosts use `http.client`, too

    def make() -> requests.Session:
        from backlotfs.api.transport import open_session  # late: it imports `requests`

        return open_session(
            user_agent=USER_AGENT,
            pool_size=1 + PROBE_THREADS + TRANSFER_THREADS + URL_WAITERS,
            ca_bundle=account.ca_bundle,
            proxy=account.proxy,
        )

    return ApiSession(make)


@dataclass(frozen=True, slots=True)
class Stack:
    """The parts of a mount below the kernel adapter.

    :ivar session: has the connections to the API.
    :ivar captions: None if caption files are not shown.
    :ivar saved_urls: None if presigned URLs are not kept over restarts.
    :ivar notifier: the notifier of the kernel adapter.
    """

    limiter: ApiRateLimiter
    session: ApiSession
    api: ApiClient
    db: CatalogDb
    resolver: UrlResolver
    saved_urls: SavedUrls | None
    transport: Transport
    catalog: Catalog
    versions: SourceVersionCache
    probes: ProbeScheduler
    captions: CaptionBackfill | None
    previews: PreviewImages
    namespace: Namespace
    reading: ReadPath
    notifier: Notifier

    def close(self) -> None:
        """Save all state and close idle connections; running requests end by themselves."""
        self.limiter.close()
        try:
            self.probes.close()
            if self.captions is not None:
                self.captions.close()
        except BacklotError as error:
            events.BACKFILL_LOCKED.log(log, reason=error)
        self.reading.reconciler.close()
        self.versions.close()
        self.catalog.folder_times.close()
        if self.saved_urls is not None:
            self.saved_urls.close()
        self.transport.connections.close()
        self.session.close()
        if self.reading.disk is not None:
            self.reading.disk.close()
        self.catalog.save_listing()  # last: it may wait, and a mount can start without it
        self.db.close()


def _library(account: Account) -> LibraryIdentity:
    public = Credentials(account.api_key, account.api_secret).account
    return LibraryIdentity.of(account.api_url, public)


def open_saved_urls(settings: MountSettings, clock: Clock) -> SavedUrls | None:
    """Open the presigned URLs that earlier mounts saved; None if URLs are not saved.

    :raises SettingsError: ``forget_urls`` is set, and the saved URLs cannot be deleted.
    """
    account = settings.account
    path = settings.cache_dir / "urls" / f"{_library(account).digest}.sqlite3"
    if settings.forget_urls:
        try:
            delete_saved_urls(path)
        except (OSError, sqlite3.Error) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise SettingsError(
                f"the saved URLs cannot be deleted ({reason}); delete {path}"
            ) from None
    return SavedUrls(path, clock) if settings.keeps_urls else None


def _needs_labels(presented: Presented) -> bool:
    choice = presented.admit.choice
    return choice is not None and choice.needs_labels


def _open_catalog(
    settings: MountSettings,
    api: ApiClient,
    db: CatalogDb,
    resolver: UrlResolver,
    presented: Presented,
    clock: Clock,
    progress: Callable[[int], None],
) -> Catalog:
    synchronizer = Synchronizer(
        api,
        db,
        clock,
        with_labels="labels" in settings.layouts or _needs_labels(presented),
        limits=ListingLimits(settings.max_assets, settings.max_listing_bytes),
        progress=progress,
        on_source=resolver.put_if_absent,
    )
    catalog = Catalog(
        db,
        synchronizer,
        Workers(1, "catalog"),
        clock,
        naming=catalog_naming(NameMode(settings.names)),
        ttl_s=settings.metadata_ttl_s,
        presented=presented,
    )
    catalog.sync_deadline_s = settings.limits.sync_s
    return catalog


def _open_probes(
    settings: MountSettings,
    transport: Transport,
    resolver: UrlResolver,
    limiter: ApiRateLimiter,
    versions: SourceVersionCache,
    aliases: EtagAliases,
    backfill: Backfill,
) -> ProbeScheduler:
    def known(embed_code: str) -> SourceVersion | None:
        source = versions.known(embed_code)
        return None if source is None else source.version

    get = transport.signed_get(resolver, HostShares())
    probes = ProbeScheduler(
        resolver,
        SourceProbe(get, resolver.reported_size, aliases=aliases, known=known).probe,
        versions,
        backfill,
        limiter,
        Workers(PROBE_THREADS, "probe"),
        transport.clock,
    )
    probes.deadline_s = settings.limits.source_s
    return probes


def _open_namespace(
    settings: MountSettings,
    catalog: Catalog,
    versions: SourceVersionCache,
    probes: ProbeScheduler,
    path: ReadPath,
    rules: UnsizedRules | None,
    providers: Sequence[Provider],
) -> Namespace:
    return Namespace(
        catalog,
        versions,
        probes,
        TreeOptions(
            settings.layouts,
            NameMode(settings.names),
            settings.umask,
            settings.include_unavailable,
        ),
        providers=providers,
        rules=rules,
        read_state=ReadState(path.local, path.metrics.failures.note),
    )


def _providers(
    settings: MountSettings,
    catalog: Catalog,
    versions: SourceVersionCache,
    probes: ProbeScheduler,
    captions: CaptionBackfill | None,
    previews: PreviewImages,
    clock: Clock,
) -> list[Provider]:
    """Build the providers of files without a source, in the order of listings."""
    providers: list[Provider] = []
    if settings.sidecars:
        providers.append(JsonSidecars(catalog, versions))
    if captions is not None:
        providers.append(CaptionSidecars(captions.index))
    if settings.shared_thumbnails is not None:
        pictures = SharedPictures(previews.fetch, clock, software=f"backlotfs {__version__}")
        listed = settings.shared_thumbnails == "listed"
        providers.append(Thumbnails(catalog, probes, pictures, listed=listed))
    return providers


def build_stack(
    settings: MountSettings,
    clock: Clock,
    *,
    notifier: Notifier | None = None,
    disk: DiskTier | None = None,
    progress: Callable[[int], None] = lambda _assets: None,
    rules: UnsizedRules | None = None,
    passes_through: PassesThrough = lambda _version: False,
    tracing: Tracing | None = None,
) -> Stack:
    """Build everything below the kernel adapter; send nothing yet.

    :param notifier: sends changes to the kernel; None: there is no kernel.
    :param disk: the disk cache; `Stack.close` closes it.
    :param progress: called with the number of assets so far during a full sync.
    :param rules: decides which program waits for an unknown size; None: all wait.
    :param passes_through: returns whether the kernel reads an open version itself.
    :param tracing: makes spans of reads; None: no spans are made.
    :raises SettingsError: see `open_api_session`, `open_saved_urls` and `parse_rule`.
    """
    account = settings.account
    session = open_api_session(account)
    limiter = ApiRateLimiter(
        clock, share=float(settings.api_share), credit_wait_s=settings.credit_wait_s
    )
    api = ApiClient(account, session, clock, limiter=limiter)
    db = CatalogDb(settings.cache_dir, _library(account), clock)
    transport = Transport.of(account, clock, tracing)
    choice = Choice.of(settings.include, settings.exclude)
    presented = Presented(AssetFilter(settings.types or SOURCE_TYPES, settings.statuses, choice))
    saved_urls = open_saved_urls(settings, clock)
    resolver = UrlResolver(
        api,
        limiter,
        clock,
        updated_at_s=presented.updated_at_s,
        saved=saved_urls,
    )
    catalog = _open_catalog(settings, api, db, resolver, presented, clock, progress)
    aliases = EtagAliases(clock)
    versions = SourceVersionCache(
        clock,
        presented.row,
        lambda records: db.write(save_sources, records),
        is_alias=aliases.are_proven,
    )
    backfill = Backfill(db, presented, versions)
    probes = _open_probes(settings, transport, resolver, limiter, versions, aliases, backfill)
    captions = None
    if settings.captions:
        captions = CaptionBackfill(
            api,
            db,
            presented,
            probes,
            clock,
            ask_s=account.limits.captions_s,
        )
        catalog.subscribe(captions.published)
    handles = HandleTable()
    sources = SourceParts(
        transport.signed_get(resolver),
        resolver,
        aliases,
        versions,
        transport.hosts,
        probes.is_queued,
    )
    path = build_read_path(settings, handles, sources, disk, clock, passes_through, tracing)
    previews = PreviewImages(transport.connections, clock, transport.policy)
    providers = _providers(settings, catalog, versions, probes, captions, previews, clock)
    namespace = _open_namespace(settings, catalog, versions, probes, path, rules, providers)
    path.walks.folder_of = WalkFolders(namespace).folder_of
    kernel = notifier or Notifier()
    Replacement(versions, resolver, path.reconciler, probes, catalog, kernel).connect()
    if disk is not None:
        disk.name_of = namespace.name_of
    return Stack(
        limiter=limiter,
        session=session,
        api=api,
        db=db,
        resolver=resolver,
        saved_urls=saved_urls,
        transport=transport,
        catalog=catalog,
        versions=versions,
        probes=probes,
        captions=captions,
        previews=previews,
        namespace=namespace,
        reading=path,
        notifier=kernel,
    )
