"""``backlotfs config init``: ask for an account, try it, and write it into the profile file."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import platformdirs

from backlotfs.cli.account_options import api_timeout_option, proxy_option
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config import keyring_store
from backlotfs.config.profile_file import is_profile_name, profile_names, write_profile
from backlotfs.config.profiles import checked_url, find_proxy
from backlotfs.config.settings import DEFAULT_API_URL, Account, default_cdn_url
from backlotfs.errors import SettingsError
from backlotfs.log import redaction
from backlotfs.log.terminal import say
from backlotfs.mount.check_api import check_api
from backlotfs.mount.stack import open_api_session


@click.group()
def config() -> None:
    """Create a profile for a library in the profile file."""


@config.command()
@click.option("--profile", metavar="NAME", help="Name of the profile [asked, main].")
@click.option("--api-url", metavar="URL", help="Address of the API [BACKLOT_API_URL, or asked].")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Profile file [config.toml in your configuration folder].",
)
@click.option("--force", is_flag=True, help="Replace a profile of the same name.")
@click.option(
    "--keyring",
    "in_keyring",
    is_flag=True,
    help="Save the secret in the desktop's key store, not in the file.",
)
@api_timeout_option
@proxy_option
@click.option("--no-check", is_flag=True, help="Write the profile without calling the API.")
def init(
    profile: str | None,
    api_url: str | None,
    path: Path | None,
    force: bool,
    in_keyring: bool,
    api_timeout: float | None,
    proxy: str | None,
    no_check: bool,
) -> None:
    """Ask for a library's address, key and secret, try them, and write a profile.

    The command does not ask for values that BACKLOT_API_KEY and BACKLOT_API_SECRET give. A proxy of
    BACKLOT_PROXY is written to the profile, with its password. The rest of the file stays as it is.
    If the API refuses or cannot be reached, nothing is written.
    """
    through = find_proxy(os.environ, proxy)
    place = path or Path(platformdirs.user_config_dir("backlotfs")) / "config.toml"
    name = profile or _prompt("Name of the profile", default="main")
    if not is_profile_name(name):
        raise SettingsError(f"{name!r} is not a valid profile name; use letters, digits, - and _")
    if name in profile_names(place) and not force:
        raise SettingsError(
            f"{place} already has a profile {name}; replace it with --force, or choose another "
            "name with --profile"
        )
    account = replace(_ask(name, api_url), proxy=through)
    if api_timeout is not None:
        account = replace(account, api_timeout_s=api_timeout)
    if not no_check:
        with open_api_session(account) as session:
            check_api(account, SystemClock(), session)
        say("The API accepts the key and the secret.")
    if in_keyring:
        keyring_store.save_secret(keyring_store.SERVICE, account.api_key, account.api_secret)
        say(f"Saved the secret in the key store ({keyring_store.name()}).")
        secret = {"api_secret_keyring": keyring_store.SERVICE}
    else:
        secret = {"api_secret": account.api_secret}
    kept = {"api_timeout": f"{api_timeout:g}s"} if api_timeout is not None else {}
    if through is not None:  # with its password, if it is from the environment
        kept["proxy"] = through.url
    named = {"api_url": account.api_url, "api_key": account.api_key}
    write_profile(place, name, named | secret | kept)
    say(f"Wrote profile {name} to {place}; only you can read it (0600).")
    option = f" --config {path}" if path else ""
    say(f"Next: backlotfs doctor{option} --profile {name}")
    say(f"Then: backlotfs mount{option} --profile {name} MOUNTPOINT")


def _ask(name: str, api_url: str | None) -> Account:
    environ = os.environ
    url = api_url or environ.get("BACKLOT_API_URL")
    url = url or _prompt("Address of the API", default=DEFAULT_API_URL)
    url = checked_url(url)
    key = environ.get("BACKLOT_API_KEY") or _prompt("API key")
    secret = environ.get("BACKLOT_API_SECRET") or _prompt("API secret (not shown)", hide_input=True)
    redaction.hide(key.strip(), secret.strip())
    return Account(url, key.strip(), secret.strip(), default_cdn_url(url), name)


def _prompt(text: str, **options: Any) -> str:
    """Ask for a value. :raises SettingsError: nobody can answer."""
    try:
        # None: it is closed, and input() would end with a traceback
        if sys.stdin is not None:
            return str(click.prompt(text, **options))
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise  # Ctrl-C
    raise SettingsError(
        "standard input has no answer; run this on a terminal, or give every value: --profile, "
        "--api-url, and BACKLOT_API_KEY and BACKLOT_API_SECRET in the environment"
    )
