"""``backlotfs ls`` and ``backlotfs info``: the library without a mount."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from backlotfs.api.records import Asset
from backlotfs.api.server_text import one_line
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.cli.account_options import account_from, account_options
from backlotfs.clock import Deadline, SystemClock
from backlotfs.errors import NoSuchEntry, SourceMissing
from backlotfs.namespace.naming import assign_names
from backlotfs.settings import Account
from backlotfs.wiring import greet, open_api

_DEADLINE_S = 900.0


def _named_assets(account: Account) -> list[tuple[str, Asset]]:
    """Name and asset of everything a mount would show, in the order of names."""
    clock = SystemClock()
    greet(account, clock)
    admit = AssetFilter(SOURCE_TYPES)
    pages = open_api(account, clock).iter_pages(deadline=Deadline(_DEADLINE_S, clock))
    assets = [asset for page in pages for asset in page.assets if admit.admits(asset)]
    names = assign_names(assets, {})
    return sorted((names[asset.embed_code], asset) for asset in assets)


@click.command("ls")
@account_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_library(
    api_url: str | None,
    cdn_url: str | None,
    config: Path | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """List the library without mounting it: one asset a line.

    Sizes are not shown: each would cost a call of the API.
    """
    for name, asset in _named_assets(account_from(api_url, cdn_url, config, profile)):
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
    api_url: str | None,
    cdn_url: str | None,
    config: Path | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Show all that is known of ASSET, an embed code or a file name of the mount."""
    account = account_from(api_url, cdn_url, config, profile)
    found = next(
        (
            (name, record)
            for name, record in _named_assets(account)
            if asset in (record.embed_code, name)
        ),
        None,
    )
    if found is None:
        raise NoSuchEntry(f"no asset is called {asset!r}; list them: backlotfs ls")
    fields = _fields(*found)
    clock = SystemClock()
    try:
        source = open_api(account, clock).get_source(
            found[1].embed_code, deadline=Deadline(_DEADLINE_S, clock)
        )
    except SourceMissing:
        fields["source"] = "missing"
    else:
        fields["file_size"] = source.file_size
        fields["source"] = "available" if source.url is not None else "no URL"
    if as_json:
        click.echo(json.dumps(fields, ensure_ascii=False, indent=2))
        return
    for key, value in fields.items():
        if value not in (None, ""):
            click.echo(f"{key:20} {one_line(str(value))}")


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
