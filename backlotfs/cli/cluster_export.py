# SPDX-License-Identifier: Apache-2.0
"""``backlotfs export backlot://PROFILE/PATH DEST``: an export by the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from backlotfs.cli.export_report import report, say_failures, stopped_line
from backlotfs.cli.mount_options import api_share_of, apply_mount_options
from backlotfs.cli.progress import CREDITS_EVERY_S, ListingProgress, TransferBar
from backlotfs.config.profiles import environ_for, load_account
from backlotfs.config.settings import Account, MountSettings, default_cache_dir
from backlotfs.errors import SettingsError, install_extra
from backlotfs.export.destination import Destination
from backlotfs.export.exporter import Outcome, State, planned
from backlotfs.export.items import Item, kept_apart
from backlotfs.export.manifest import Records
from backlotfs.export.verifying import read_all_records
from backlotfs.log.terminal import about, printable, say

if TYPE_CHECKING:
    from backlotfs.cluster.folder import FolderTarget
    from backlotfs.cluster.library import Asset, ClusterLibrary
    from backlotfs.cluster.pool import Pool
    from backlotfs.cluster.store import StoreTarget
    from backlotfs.mount.stack import Stack

SCHEME = "backlot://"
#: Schemes of DEST that name a folder.
_FOLDER_SCHEMES = ("file://", "local://")


class LibraryPath(NamedTuple):
    """A source of the form ``backlot://PROFILE/PATH``; ``profile`` is None for the only one."""

    profile: str | None
    path: str

    @classmethod
    def parse(cls, source: str) -> LibraryPath:
        """:raises SettingsError: ``source`` has another form; the message shows the right one."""
        scheme, _, rest = source.partition("://")
        if f"{scheme}://" != SCHEME:
            raise SettingsError(
                f"{printable(source)} is no path in a library; write it like backlot://main/News, "
                "or backlot:///News for the only profile"
            )
        profile, slash, path = rest.partition("/")
        return cls(unquote(profile) or None, slash + path or "/")


class ClusterOptions(NamedTuple):
    """The options of `export`."""

    scheduler: str | None
    workers: int | None
    jobs: int
    api_share: str | None
    dry_run: bool
    overwrite: bool
    checksum: bool
    as_json: bool


def export_on_cluster(sources: Sequence[str], destination: str, options: ClusterOptions) -> None:
    """Copy assets of a library to DEST.

    :raises SettingsError: an option, DEST, the scheduler or a worker cannot be used.
    :raises ExportIncomplete: an asset failed.
    """
    if not options.dry_run and (options.scheduler is None) == (options.workers is None):
        raise SettingsError(
            "a library is exported by a cluster: name its scheduler by --scheduler "
            "tcp://HOST:8786, or start workers on this machine by --workers N"
        )
    if options.checksum:
        raise SettingsError(
            "--checksum is for exports from a mount; to check a copy: backlotfs verify DEST"
        )
    paths = [LibraryPath.parse(source) for source in sources]
    if len({path.profile for path in paths}) > 1:
        raise SettingsError("the sources are in several profiles; export each by itself")
    if urlsplit(destination).password:
        raise SettingsError(
            "DEST holds a password, which other users can read; give it by fsspec's configuration"
        )
    folder = folder_of(destination)
    profile = paths[0].profile
    account = load_account(environ_for(profile, os.environ), profile=profile)
    check_packages()
    started_s = time.monotonic()
    if options.dry_run:
        with _opened(account, options) as stack:
            assets = _assets(stack, paths)
            outcomes, took_s = _planned(stack, account, assets, destination, options), 0.0
        say_failures(outcomes)
    else:
        outcomes = _export(account, paths, destination, folder, options)
        took_s = time.monotonic() - started_s
    report(outcomes, destination if folder is None else str(folder), options.as_json, took_s)


def check_packages() -> None:
    """:raises SettingsError: the packages for clusters and object stores are not installed."""
    if not all(map(importlib.util.find_spec, ("distributed", "fsspec"))):
        raise SettingsError(
            f"an export on a cluster needs more packages: {install_extra('cluster')}"
        )


def folder_of(destination: str) -> Path | None:
    """The folder that DEST names; None: DEST names an object store."""
    for scheme in _FOLDER_SCHEMES:
        if destination.startswith(scheme):
            return Path(destination.removeprefix(scheme))
    return None if "://" in destination else Path(destination)


@contextlib.contextmanager
def _opened(account: Account, options: ClusterOptions) -> Iterator[Stack]:
    """The library as a mount of the profile shows it.

    :raises BacklotError: the library cannot be listed, or ``--api-share`` is no share.
    """
    from backlotfs.mount.unmounted import open_library

    settings = MountSettings(account, Path("/"), default_cache_dir(os.environ), cache_bytes=0)
    settings = apply_mount_options(settings, [account.mount_options])
    share = api_share_of(account, options.api_share)
    settings = replace(settings, cache_bytes=0, mountpoint=Path("/"), api_share=share)
    with ListingProgress() as listing:
        library = open_library(settings, listing.show)
    try:
        yield library.stack
    finally:
        library.close()


def _assets(stack: Stack, paths: Sequence[LibraryPath]) -> list[Asset]:
    """The assets at these paths, sorted by name.

    :raises SettingsError: two assets would have the same name, or there is no asset.
    """
    from backlotfs.cluster.library import find_assets

    found: dict[str, Asset] = {}
    for path in paths:
        for asset in find_assets(stack.namespace, path.path):
            before = found.setdefault(asset.name, asset)
            if before.row.embed_code != asset.row.embed_code:
                raise SettingsError(
                    f"two sources would both become {printable(asset.name)}; "
                    "export them into places of their own"
                )
    if not found:
        raise SettingsError("there is no asset in these sources; list the library: backlotfs ls")
    return [found[name] for name in sorted(found)]


def _export(
    account: Account,
    paths: Sequence[LibraryPath],
    destination: str,
    folder: Path | None,
    options: ClusterOptions,
) -> list[Outcome]:
    from backlotfs.cluster.exporter import ClusterExporter
    from backlotfs.cluster.library import ClusterLibrary

    stop = threading.Event()
    with contextlib.ExitStack() as opened:
        coming = opened.enter_context(_pool_coming(options, stop))
        stack = opened.enter_context(_opened(account, options))
        assets = _assets(stack, paths)
        library = ClusterLibrary(stack, account, stop)
        total_bytes = sum(max(0, asset.row.size) for asset in assets)
        pool = coming.result()
        bar = TransferBar("export", total_bytes, wanted=not options.as_json)
        target, lost, assets = _target(opened, assets, destination, folder, options, stop)
        opened.callback(stop.set)  # called before the target is closed, so that all waits end
        pool.check(target.checks, lambda line: bar.say(f"backlotfs: {line}"))
        if not options.as_json and (dashboard := pool.dashboard()):
            say(f"dashboard: {dashboard}", err=True)
        opened.enter_context(bar)
        opened.enter_context(_credits_shown(library, bar))
        say_failures(lost, bar)
        complete: list[str] = []

        def finished(outcome: Outcome) -> None:
            if outcome.state is not State.FAILED:
                complete.append(outcome.name)
            say_failures([outcome], bar)

        exporter = ClusterExporter(
            library,
            target,
            pool.run,
            window=lambda: pool.window,
            moved=bar.moved,
            finished=finished,
            stop=stop,
        )
        try:
            return [*lost, *exporter.run(assets)]
        except KeyboardInterrupt:
            bar.say_last(stopped_line(len(complete), len(assets) + len(lost)))
            raise


@contextlib.contextmanager
def _pool_coming(options: ClusterOptions, stop: threading.Event) -> Iterator[Future[Pool]]:
    """Connect to or start the workers in a thread, while the caller opens the library.

    Both take seconds.
    """
    from backlotfs.cluster.pool import Pool

    def pool() -> Pool:
        if options.scheduler is not None:
            return Pool.connect(options.scheduler, stop)
        workers = options.workers or 1
        return Pool.start(workers, -(-options.jobs // workers), stop)

    with ThreadPoolExecutor(1, "pool") as thread:
        coming = thread.submit(pool)
        try:
            yield coming
        finally:
            if coming.exception() is None:
                coming.result().close()


def _target(
    opened: contextlib.ExitStack,
    assets: list[Asset],
    destination: str,
    folder: Path | None,
    options: ClusterOptions,
    stop: threading.Event,
) -> tuple[FolderTarget | StoreTarget, list[Outcome], list[Asset]]:
    """Open DEST. Return the target, the outcomes of assets that cannot be exported, and the others.

    :raises SettingsError: DEST cannot be used.
    """
    if folder is None:
        from backlotfs.cluster.objects import objects_at
        from backlotfs.cluster.store import StoreTarget

        store = StoreTarget(objects_at(destination), overwrite=options.overwrite, stop=stop)
        opened.callback(store.close)
        return store, [], assets
    from backlotfs.cluster.folder import FolderTarget

    try:
        place = opened.enter_context(Destination.open(folder, make=True))
        workspace = opened.enter_context(place.claim())
        target = FolderTarget(place, workspace, overwrite=options.overwrite)
    except OSError as error:
        raise SettingsError(
            f"cannot write to {folder}: {error.strerror}; is its disk mounted? "
            "Choose a folder that you can write to"
        ) from None
    opened.callback(target.close)
    if not workspace.folds_case():
        return target, [], assets
    by_name = {asset.name: asset for asset in assets}
    kept, clashing = kept_apart(
        [Item(name, name, 0, 0) for name in by_name],
        target.exported,
        lambda name: place.look(name) is not None,
    )
    lost = [Outcome(one.name, State.FAILED, 0, reason=one.reason) for one in clashing]
    return target, lost, [by_name[item.name] for item in kept]


@contextlib.contextmanager
def _credits_shown(library: ClusterLibrary, bar: TransferBar) -> Iterator[None]:
    """Within the block, show for how long the export waits for API credits."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(CREDITS_EVERY_S):
            more_in_s = library.waits_for()
            bar.note("" if more_in_s is None else f"API credits: more in {about(more_in_s)}")

    thread = threading.Thread(target=watch, name="credits", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _planned(
    stack: Stack,
    account: Account,
    assets: Sequence[Asset],
    destination: str,
    options: ClusterOptions,
) -> list[Outcome]:
    """What would be copied. Nothing is written, and no size is asked for: unknown sizes are 0."""
    from backlotfs.cluster.library import ClusterLibrary

    library = ClusterLibrary(stack, account, threading.Event())
    folder = folder_of(destination)
    known = {asset.name: library.known(asset) or (0, 0) for asset in assets}
    items = [Item(name, name, *known[name]) for name in known]
    if folder is None:
        from backlotfs.cluster.objects import objects_at
        from backlotfs.cluster.store import planned_objects

        return planned_objects(objects_at(destination), items, overwrite=options.overwrite)
    try:
        place = Destination.open(folder)
    except (FileNotFoundError, NotADirectoryError):
        return planned(items, None, Records({}, {}), overwrite=options.overwrite)
    with place:
        records, _ = read_all_records(place)
        return planned(items, place, records, overwrite=options.overwrite)
