# SPDX-License-Identifier: Apache-2.0
"""``backlotfs ls`` and ``backlotfs info`` show the library without a mount."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import click

from backlotfs.api.answers import one_line
from backlotfs.api.client import ApiClient
from backlotfs.api.paging import ListingLimits, ListingMeter
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.records import Asset
from backlotfs.api.session import ApiSession
from backlotfs.api.signing import Credentials
from backlotfs.catalog.db.names import given_names
from backlotfs.catalog.db.schema import LibraryIdentity, catalog_path
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.cli.account_options import ChosenAccount, account_options, api_share_option
from backlotfs.cli.mount_options import api_share_of
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.config.settings import Account, NameMode, default_cache_dir
from backlotfs.errors import NoSuchEntry, SourceMissing
from backlotfs.http.backoff import Backoff, RetryPolicy
from backlotfs.log.terminal import printable, say, say_json
from backlotfs.mount.check_api import check_api
from backlotfs.mount.stack import open_api_session
from backlotfs.namespace.attributes import iso_utc
from backlotfs.namespace.naming import names_for

_names_option = click.option(
    "--names",
    type=click.Choice([mode.value for mode in NameMode]),
    default=NameMode.ORIGINAL.value,
    help="File names as with `mount --names` [original].",
)
_cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Cache folder of the mount, whose catalog has the names [your cache folder].",
)


def _limiter(account: Account, api_share: str | None) -> ApiRateLimiter:
    """The rate limiter of all calls of a command. :raises SettingsError: see `api_share_of`."""
    return ApiRateLimiter(SystemClock(), share=float(api_share_of(account, api_share)))


def _named_assets(
    account: Account,
    session: ApiSession,
    limiter: ApiRateLimiter,
    mode: NameMode,
    cache_dir: Path | None,
) -> list[tuple[str, Asset]]:
    """The presented assets with their names in the mount, sorted by name."""
    clock = SystemClock()
    check_api(account, clock, session, limiter)
    admit = AssetFilter(SOURCE_TYPES)
    pages = ApiClient(account, session, clock, limiter=limiter).iter_pages(
        deadline=Deadline(account.limits.command_s, clock)
    )
    everything: list[Asset] = []
    meter = ListingMeter("assets", ListingLimits())
    for page in pages:
        codes = [asset.embed_code for asset in page.items]
        meter.page_in_memory(codes, size_bytes=page.size_bytes)
        everything += page.items
    identity = LibraryIdentity.of(
        account.api_url, Credentials(account.api_key, account.api_secret).account
    )
    folder = cache_dir or default_cache_dir(os.environ)
    # A mount makes names unique among all assets of a library, not only the presented ones.
    given = given_names(catalog_path(folder, identity), mode)
    names = names_for(mode, everything, given)
    presented = (asset for asset in everything if admit.admits(asset.asset_type, asset.status))
    return sorted((names[asset.embed_code], asset) for asset in presented)


@click.command("ls")
@account_options
@_names_option
@_cache_dir_option
@api_share_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_library(
    chosen: ChosenAccount,
    names: str,
    cache_dir: Path | None,
    api_share: str | None,
    as_json: bool,
) -> None:
    """List the library without a mount: one asset per line, with its file name in a mount.

    Sizes are not shown, because each would cost an API call.
    """
    account = chosen.load()
    limiter = _limiter(account, api_share)
    with closing(open_api_session(account)) as session:
        assets = _named_assets(account, session, limiter, NameMode(names), cache_dir)
    for name, asset in assets:
        if as_json:
            say_json(_fields(name, asset))
        else:
            code, kind, status, shown = map(
                printable, (asset.embed_code, asset.asset_type, asset.status, name)
            )
            say(f"{code}  {kind:<6} {status:<10} {shown}")


@click.command()
@click.argument("asset")
@account_options
@_names_option
@_cache_dir_option
@api_share_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(
    asset: str,
    chosen: ChosenAccount,
    names: str,
    cache_dir: Path | None,
    api_share: str | None,
    as_json: bool,
) -> None:
    """Show all metadata of ASSET, an embed code or a file name in a mount."""
    account = chosen.load()
    limiter = _limiter(account, api_share)
    with closing(open_api_session(account)) as session:
        named = _named_assets(account, session, limiter, NameMode(names), cache_dir)
        fields = _found(asset, named, account, session, limiter)
    if as_json:
        say_json(fields, indent=2)
        return
    for key, value in fields.items():
        if value not in (None, ""):
            say(f"{key:20} {one_line(str(value))}")


def _found(
    wanted: str,
    named: list[tuple[str, Asset]],
    account: Account,
    session: ApiSession,
    limiter: ApiRateLimiter,
) -> dict[str, object]:
    """The fields of the asset with this embed code or name. :raises NoSuchEntry: there is none."""
    for name, asset in named:
        if wanted in (asset.embed_code, name):
            break
    else:
        raise NoSuchEntry(f"no asset has the name or embed code {wanted!r}; list all: backlotfs ls")
    fields = _fields(name, asset)
    clock = SystemClock()
    try:
        api = ApiClient(account, session, clock, limiter=limiter)
        deadline = Deadline(account.limits.command_s, clock)
        backoff = Backoff(RetryPolicy(), deadline, clock, f"GET the source of {asset.embed_code}")
        source = backoff.run(lambda: api.get_source(asset.embed_code, deadline=deadline))
    except SourceMissing:
        return fields | {"source": "missing"}
    state = "available" if source.url is not None else "no URL"
    return fields | {"file_size": source.file_size, "source": state}


def _fields(name: str, asset: Asset) -> dict[str, object]:
    return {
        "file": name,
        "embed_code": asset.embed_code,
        "title": asset.title,
        "original_file_name": asset.original_file_name,
        "asset_type": asset.asset_type,
        "status": asset.status,
        "duration_ms": asset.duration_ms,
        "created_at": iso_utc(asset.created_at_s),
        "updated_at": iso_utc(asset.updated_at_s),
        "external_id": asset.external_id,
        "description": asset.description,
    }
