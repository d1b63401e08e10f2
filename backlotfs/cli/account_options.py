"""The options that say which library, shared by every command that speaks to one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from backlotfs.errors import SettingsError
from backlotfs.profile_file import profile_names
from backlotfs.profiles import config_path, load_account
from backlotfs.settings import Account

F = TypeVar("F", bound=Callable[..., Any])


def _profiles(context: click.Context, begun: str) -> list[str]:
    """Names of profiles that begin so; none from a file that cannot be used."""
    try:
        names = profile_names(context.params.get("config") or config_path())
    except SettingsError:
        return []
    return [name for name in names if name.startswith(begun)]


_OPTIONS = (
    click.option("--api-url", metavar="URL", help="The API's address [BACKLOT_API_URL]."),
    click.option("--cdn-url", metavar="URL", help="Host for GETs that may be 5 min old."),
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Profile file; must be readable by you alone.",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        help="Which of its profiles.",
        shell_complete=lambda context, _option, begun: _profiles(context, begun),
    ),
    click.option(
        "--ca-bundle",
        type=click.Path(path_type=Path, dir_okay=False),
        help="PEM file of the authorities to trust instead of the system's.",
    ),
    click.option(
        "--allow-source-host",
        multiple=True,
        metavar="HOST",
        help="Sources may be here, and redirect here: host, *.domain, 10.1.0.0/16 …",
    ),
)


def account_options(command: F) -> F:
    """Add ``--api-url``, ``--cdn-url``, ``--config``, ``--profile`` and whom to trust."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def account_from(
    api_url: str | None,
    cdn_url: str | None,
    config: Path | None,
    profile: str | None,
    ca_bundle: Path | None,
    allow_source_host: tuple[str, ...],
) -> Account:
    """The account that options, environment and profile file name.

    :raises SettingsError: see `backlotfs.profiles`.
    """
    return load_account(
        os.environ,
        config=config,
        profile=profile,
        api_url=api_url,
        cdn_url=cdn_url,
        ca_bundle=ca_bundle,
        allow_source_hosts=allow_source_host,
    )
