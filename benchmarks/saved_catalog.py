# SPDX-License-Identifier: Apache-2.0
"""A catalog as an earlier mount would have left it: the library listed, every size known."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from backlotfs.api.client import ApiClient
from backlotfs.api.records import Asset
from backlotfs.api.signing import Credentials
from backlotfs.catalog.db import assets, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.names import give_names
from backlotfs.catalog.db.rows import SourceRecord
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.db.sync import FullSync
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.config.profiles import load_account
from backlotfs.config.settings import Account, NameMode
from backlotfs.emulator.assets import EmulatedAsset, synthetic_assets
from backlotfs.mount.stack import open_api_session
from backlotfs.namespace.naming import catalog_naming

SOURCE_BYTES = 5_000_000
#: One time for all: the copies that rsync compares with have it too.
MTIME_S = 1_356_998_400
_LAST_MODIFIED = "Tue, 01 Jan 2013 00:00:00 GMT"
_BATCH = 10_000
_PAGE = 500

#: The assets of a page, and the cursor of the next.
_Page = tuple[Sequence[Asset], str | None]


def save_catalog(config: Path, cache_dir: Path) -> list[str]:
    """List the library of a profile into a catalog; returns the names its files will have.

    The listing is real, by the API. What probes would find is written as they would write it,
    because a hundred thousand of them take seven hours of credits.
    """
    clock = SystemClock()
    account = load_account({}, config=config, profile="emulator")
    with closing(open_api_session(account)) as session:
        pages = ApiClient(account, session, clock).iter_pages(deadline=Deadline(600, clock))
        return _save(account, cache_dir, ((page.items, page.next_page) for page in pages))


def save_made_up(config: Path, cache_dir: Path, assets: int) -> list[str]:
    """The same without the API: a library that the account had at the last listing."""
    account = load_account({}, config=config, profile="emulator")
    made_up = synthetic_assets(assets, size_bytes=SOURCE_BYTES)
    pages = iter(lambda: tuple(map(_record, itertools.islice(made_up, _PAGE))), ())
    return _save(account, cache_dir, ((page, "more") for page in pages))


def _save(account: Account, cache_dir: Path, pages: Iterable[_Page]) -> list[str]:
    public = Credentials(account.api_key, account.api_secret).account
    db = CatalogDb(cache_dir, LibraryIdentity.of(account.api_url, public), SystemClock())
    full_sync = FullSync(db)
    codes: list[str] = []
    for page, next_page in pages:
        full_sync.add(page, next_page)
        codes += [asset.embed_code for asset in page]
    full_sync.finish(doubt_empty=False)
    db.write(state.mark_synced, db.clock.now(), full=True)
    for start in range(0, len(codes), _BATCH):
        db.write(assets.save_sources, [_probed(code) for code in codes[start : start + _BATCH]])
    give_names(db, catalog_naming(NameMode.ORIGINAL))
    names = [row.name for row in db.read(assets.rows, NameMode.ORIGINAL)]
    db.close()
    return names


def make_copies(folder: Path, names: list[str]) -> None:
    """The same library as sparse files: size and time as the mount shows them, no data."""
    folder.mkdir()
    for name in names:
        path = folder / name
        with path.open("wb") as file:
            file.truncate(SOURCE_BYTES)
        os.utime(path, (MTIME_S, MTIME_S))


def _record(made_up: EmulatedAsset) -> Asset:
    """As the API would tell it."""
    return Asset(
        made_up.embed_code,
        made_up.title,
        made_up.original_file_name,
        made_up.asset_type,
        made_up.status,
        made_up.created_at,
        made_up.changed_at,
        made_up.duration_ms,
    )


def _probed(code: str) -> SourceRecord:
    etag = f'"{code}"'
    return SourceRecord(code, SOURCE_BYTES, etag, _LAST_MODIFIED, MTIME_S, True, False)
