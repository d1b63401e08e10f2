# SPDX-License-Identifier: Apache-2.0
"""``backlotfs catalog``: carry the listing of a library from one machine to others."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backlotfs.api.signing import Credentials
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.cli.account_options import ChosenAccount, account_options
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config.settings import default_cache_dir
from backlotfs.log.terminal import counted, printable, say

if TYPE_CHECKING:
    from backlotfs.catalog.snapshot_file import Described

_cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Cache folder of the mount [your cache folder].",
)
_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def catalog() -> None:
    """Export or import the listing of a library."""


@catalog.command("export")
@_file
@account_options
@_cache_dir_option
def export_catalog(file: Path, chosen: ChosenAccount, cache_dir: Path | None) -> None:
    """Write the listing, sizes, names and captions of a library into FILE.

    Nothing is asked of the API. A mount of the library may run. FILE holds no signed URL and no
    secret; only you can read it.
    """
    from backlotfs.catalog.snapshot_file import export_snapshot  # late: the help needs nothing

    folder = cache_dir or default_cache_dir(os.environ)
    done = export_snapshot(folder, _library(chosen), SystemClock(), file)
    say(f"exported {_described(done)}, to {printable(str(file))}")


@catalog.command("import")
@_file
@account_options
@_cache_dir_option
def import_catalog(file: Path, chosen: ChosenAccount, cache_dir: Path | None) -> None:
    """Take the listing of FILE, which `catalog export` wrote, into the catalog of the library.

    Nothing is asked of the API. Mounts that run show it within seconds. A mount that starts within
    --metadata-ttl after the library was listed does not list it again.
    """
    from backlotfs.catalog.snapshot_file import import_snapshot  # late: the help needs nothing

    folder = cache_dir or default_cache_dir(os.environ)
    done = import_snapshot(folder, _library(chosen), SystemClock(), file)
    if done.is_newer:
        say(f"the listing here is newer, of {_moment(done)}: nothing is changed")
        return
    say(f"imported {_described(done)}")


def _library(chosen: ChosenAccount) -> LibraryIdentity:
    account = chosen.load()
    public = Credentials(account.api_key, account.api_secret).account
    return LibraryIdentity.of(account.api_url, public)


def _described(done: Described) -> str:
    return f"{counted(done.assets, 'asset')}, {done.sized} with a size, listed {_moment(done)}"


def _moment(done: Described) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.synced_at_s))
