"""``backlotfs ls`` and ``backlotfs info``: the library without a mount."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
import requests

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.records import Asset
from backlotfs.api.server_text import one_line
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.cli.account_options import ChosenAccount, account_options
from backlotfs.cli.greeting import greet
from backlotfs.clock import Deadline, SystemClock
from backlotfs.errors import NoSuchEntry, SourceMissing
from backlotfs.namespace.naming import assign_names
from backlotfs.settings import Account
from backlotfs.wiring import open_api, open_api_session

_DEADLINE_S = 900.0


def _named_assets(account: Account, session: requests.Session) -> list[tuple[str, Asset]]:
    """Name and asset of everything, as a new mount would name it, in the order of names."""
    clock = SystemClock()
    limiter = ApiRateLimiter(clock)
    greet(account, clock, session, limiter)
    admit = AssetFilter(SOURCE_TYPES)
    pages = open_api(account, clock, session, limiter=limiter).iter_pages(
        deadline=Deadline(_DEADLINE_S, clock)
    )
    assets = [
        asset
        for page in pages
        for asset in page.assets
        if admit.admits(asset.asset_type, asset.status)
    ]
    names = assign_names(assets, {})
    return sorted((names[asset.embed_code], asset) for asset in assets)


@click.command("ls")
@account_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_library(
    chosen: ChosenAccount,
    as_json: bool,
) -> None:
    """List the library without mounting it: one asset a line.

    Sizes are not shown: each would cost a call of the API.
    """
    account = chosen.load()
    with open_api_session(account) as session:
        assets = _named_assets(account, session)
    for name, asset in assets:
        if as_json:
            click.echo(json.dumps(_fields(name, asset), ensure_ascii=False))
        else:
            click.echo(f"{asset.embed_code}  {asset.asset_type:<6} {asset.status:<10} {name}")


@click.command()
@click.argument("asset")
@account_options
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def info(
    asset: str,
    chosen: ChosenAccount,
    as_json: bool,
) -> None:
    """Show all that is known of ASSET, an embed code or a file name of the mount."""
    account = chosen.load()
    with open_api_session(account) as session:
        fields = _found(asset, account, session)
    if as_json:
        click.echo(json.dumps(fields, ensure_ascii=False, indent=2))
        return
    for key, value in fields.items():
        if value not in (None, ""):
            click.echo(f"{key:20} {one_line(str(value))}")


def _found(wanted: str, account: Account, session: requests.Session) -> dict[str, object]:
    """Fields of the asset with this embed code or file name. :raises NoSuchEntry: none has it."""
    for name, asset in _named_assets(account, session):
        if wanted in (asset.embed_code, name):
            break
    else:
        raise NoSuchEntry(f"no asset is called {wanted!r}; list them: backlotfs ls")
    fields = _fields(name, asset)
    clock = SystemClock()
    try:
        source = open_api(account, clock, session).get_source(
            asset.embed_code, deadline=Deadline(_DEADLINE_S, clock)
        )
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
        "created_at": _iso(asset.created_at_s),
        "updated_at": _iso(asset.updated_at_s),
        "external_id": asset.external_id,
        "description": asset.description,
    }


def _iso(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat() if epoch_s else ""
