# SPDX-License-Identifier: Apache-2.0
"""The options that identify a library, shared by all commands that use one."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from backlotfs.cli.param_types import Duration
from backlotfs.config.profile_file import profile_names
from backlotfs.config.profiles import config_path, file_to_read, load_account
from backlotfs.config.settings import Account
from backlotfs.config.time_limits import LEAST_API_TIMEOUT_S, MOST_TIMEOUT_S
from backlotfs.errors import SettingsError

R = TypeVar("R")


def _profiles(context: click.Context, begun: str) -> list[str]:
    """The names of profiles that start with ``begun``; none if the file cannot be used."""
    try:
        names = profile_names(context.params.get("config") or config_path())
    except SettingsError:
        return []
    return [name for name in names if name.startswith(begun)]


api_timeout_option = click.option(
    "--api-timeout",
    type=Duration(LEAST_API_TIMEOUT_S, MOST_TIMEOUT_S),
    help="Longest silence of the API before an answer [25s].",
)
proxy_option = click.option(
    "--proxy",
    metavar="URL",
    help="HTTP proxy for API and sources: http://HOST:PORT [BACKLOT_PROXY].",
)

api_share_option = click.option(
    "--api-share",
    metavar="PART|NAME",
    help="Part of the account's API calls to make at most: 1/100, 2%, or a name of the profile.",
)

_OPTIONS = (
    click.option("--api-url", metavar="URL", help="Address of the API [BACKLOT_API_URL]."),
    click.option("--cdn-url", metavar="URL", help="Host for GETs whose answer may be 5 min old."),
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Profile file that only you can read.",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        help="Name of the profile in the file.",
        shell_complete=lambda context, _option, begun: _profiles(context, begun),
    ),
    click.option(
        "--ca-bundle",
        type=click.Path(path_type=Path, dir_okay=False),
        help="PEM file with the authorities to trust instead of the system's.",
    ),
    click.option(
        "--allow-source-host",
        multiple=True,
        metavar="HOST",
        help="Allow sources and redirects on this host, *.domain or network 10.1.0.0/16 …",
    ),
    api_timeout_option,
    proxy_option,
)


@dataclass(frozen=True, slots=True)
class ChosenAccount:
    """The values of these options; each field has the name of its option."""

    api_url: str | None
    cdn_url: str | None
    config: Path | None
    profile: str | None
    ca_bundle: Path | None
    allow_source_host: tuple[str, ...]
    api_timeout: float | None
    proxy: str | None

    def load(self) -> Account:
        """Load the account from options, environment and profile file.

        :raises SettingsError: see `backlotfs.config.profiles`.
        """
        return load_account(
            os.environ,
            config=self.config,
            profile=self.profile,
            api_url=self.api_url,
            cdn_url=self.cdn_url,
            ca_bundle=self.ca_bundle,
            allow_source_hosts=self.allow_source_host,
            api_timeout_s=self.api_timeout,
            proxy=self.proxy,
        )

    def mount_command(self, mountpoint: Path | None) -> str:
        """The command that mounts with the same options.

        ``PROXY`` stands for the proxy, whose URL may have a password.
        """
        options = {
            "--config": self.config,
            "--profile": self.profile,
            "--api-url": self.api_url,
            "--cdn-url": self.cdn_url,
            "--ca-bundle": self.ca_bundle,
            "--api-timeout": self.api_timeout and f"{self.api_timeout:g}s",
            "--proxy": self.proxy and "PROXY",
        }
        given = [(name, str(value)) for name, value in options.items() if value]
        given += [("--allow-source-host", host) for host in self.allow_source_host]
        words = ["backlotfs", "mount", *(word for pair in given for word in pair)]
        return f"{shlex.join(words)} {shlex.quote(str(mountpoint)) if mountpoint else 'DIR'}"

    @property
    def place(self) -> str:
        """Where the account comes from, as messages show it."""
        if self.profile:
            return f"profile {self.profile} of {self.config or config_path()}"
        file = file_to_read(os.environ, config=self.config, profile=None, api_url=self.api_url)
        return str(file) if file else "environment"


def account_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options to a command; its parameter ``chosen`` is a `ChosenAccount`."""

    @functools.wraps(command)
    def with_chosen(*arguments: Any, **values: Any) -> R:
        chosen = ChosenAccount(**{one.name: values.pop(one.name) for one in fields(ChosenAccount)})
        return command(*arguments, chosen=chosen, **values)

    for option in reversed(_OPTIONS):
        option(with_chosen)
    return with_chosen
