# SPDX-License-Identifier: Apache-2.0
"""``backlotfs config``: creates, lists, shows and removes profiles; it never shows their secrets.

On a terminal, ``init`` asks again after a wrong answer. Without a terminal, a wrong answer ends it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.account_options import api_timeout_option, proxy_option
from backlotfs.cli.confirming import confirm, on_terminal
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config import keyring_store
from backlotfs.config.profile_file import (
    is_profile_name,
    profile_names,
    read_profile,
    read_profiles,
    remove_profile,
    write_profile,
)
from backlotfs.config.profiles import (
    checked_url,
    config_path,
    find_proxy,
    init_command,
    is_local,
    own_config_path,
)
from backlotfs.config.settings import DEFAULT_API_URL, Account, default_cdn_url
from backlotfs.errors import BacklotError, CredentialsRefused, SettingsError
from backlotfs.log import redaction
from backlotfs.log.terminal import one_json, say
from backlotfs.mount.check_api import check_api
from backlotfs.mount.stack import open_api_session

_config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Profile file [config.toml in your configuration folder].",
)


@click.group()
def config() -> None:
    """Create, list, show and remove the profiles of libraries."""


@config.command()
@click.option("--profile", metavar="NAME", help="Name of the profile [asked, main].")
@click.option("--api-url", metavar="URL", help="Address of the API [BACKLOT_API_URL, or asked].")
@_config_option
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
    place = path or own_config_path()
    known = profile_names(place)
    name = _again(lambda: _profile_name(profile, place, () if force else known), fixed=profile)
    given = api_url or _environ("URL")
    url, account = "", None
    while True:
        url = _again(partial(_api_url, given, url), fixed=given)
        account = replace(_ask(name, url, account), proxy=through)
        if api_timeout is not None:
            account = replace(account, api_timeout_s=api_timeout)
        if no_check:
            break
        try:
            with closing(open_api_session(account)) as session:
                check_api(account, SystemClock(), session)
        except BacklotError as error:
            refused = isinstance(error, CredentialsRefused)
            hopeless = _environ("KEY") and _environ("SECRET") if refused else given
            if hopeless or not on_terminal():  # no other answer would help
                raise
            if is_local(url):  # a server on this machine has no certificate
                url = url.replace("https://", "http://", 1)
            said = str(error).rstrip(".")
            say(
                f"{said}. Nothing was written. Answer again (Enter keeps a value), or press Ctrl-C."
            )
        else:
            say("The API accepts the key and the secret.")
            break
    if in_keyring:
        keyring_store.save_secret(keyring_store.SERVICE, account.api_key, account.api_secret)
        say(f"Saved the secret in the key store ({keyring_store.name()}).")
        secret = {"api_secret_keyring": keyring_store.SERVICE}
    else:
        secret = {"api_secret": account.api_secret}
    kept = {"api_timeout": f"{api_timeout:g}s"} if api_timeout is not None else {}
    if through is not None:  # a proxy from the environment is written with its password
        kept["proxy"] = through.url
    named = {"api_url": account.api_url, "api_key": account.api_key}
    write_profile(place, name, named | secret | kept)
    say(f"Wrote profile {name} to {place}; only you can read it (0600).")
    option = f" --config {shlex.quote(str(path))}" if path else ""
    say(f"Next: backlotfs doctor{option} --profile {name}")
    say(f"Then: backlotfs mount{option} --profile {name} MOUNTPOINT")


@config.command("list")
@_config_option
def list_profiles(path: Path | None) -> None:
    """List the profiles, one per line: its name, and the address of its library."""
    place = path or config_path()
    profiles = read_profiles(place)
    if not profiles:
        say(f"{place} has no profile; create one: {init_command(path)}", err=True)
    width = max(map(len, profiles), default=0)
    for name, entry in sorted(profiles.items()):
        address = entry.get("api_url", DEFAULT_API_URL) if isinstance(entry, dict) else "(no table)"
        say(f"{name:{width}}  {address}")


@config.command()
@click.argument("name", required=False)
@_config_option
def show(name: str | None, path: Path | None) -> None:
    """Show the profile NAME, by default the only one, without its secret."""
    place = path or config_path()
    _, entry = read_profile(place, name)
    say(f"# {place}")
    for key, value in entry.items():
        say(f"{key} = {_without_secret(key, value)}")


@config.command()
@click.argument("name")
@_config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, path: Path | None, yes: bool) -> None:
    """Remove the profile NAME, with the secret in it.

    Its cache stays: see `backlotfs cache`. A secret in a file of its own or in the key store stays.
    """
    place = path or config_path()
    known = profile_names(place)
    if name not in known:
        raise SettingsError(f"{place} has no profile {name}; it has: {', '.join(known) or 'none'}")
    if not yes:
        confirm(f"Remove profile {name}, and the secret in it, from {place}?")
    remove_profile(place, name)
    say(f"Removed profile {name} from {place}.")


def _without_secret(key: str, value: object) -> str:
    """The value of a setting as it may be shown."""
    if key == "api_secret":
        return "… (set; not shown)"
    if key == "api_secret_command":  # the other words of the command may contain a password
        words = value.split() if isinstance(value, str) else value
        first = words[0] if isinstance(words, list) and words else ""
        return f"{first} … (not shown)".lstrip()
    if key == "proxy" and "@" in str(value):
        scheme = "http://" if str(value).startswith("http://") else ""
        return f"{scheme}…@{str(value).rpartition('@')[2]}"
    return one_json(value)


def _environ(what: str) -> str | None:
    return os.environ.get(f"BACKLOT_API_{what}")


def _again(ask: Callable[[], str], *, fixed: object) -> str:
    """The result of ``ask``. On a terminal, call ``ask`` again until its result is valid.

    :param fixed: a value that was given instead of an answer; if there is one, ask only once.
    :raises SettingsError: the result is not valid.
    """
    while True:
        try:
            return ask()
        except SettingsError as error:
            if fixed or not on_terminal():
                raise
            say(str(error))


def _profile_name(given: str | None, place: Path, taken: Collection[str]) -> str:
    name = given or _prompt("Name of the profile", default="main")
    if not is_profile_name(name):
        raise SettingsError(f"{name!r} is not a valid profile name; use letters, digits, - and _")
    if name in taken:
        raise SettingsError(
            f"{place} already has a profile {name}; replace it with --force, or choose another "
            "name with --profile"
        )
    return name


def _api_url(given: str | None, default: str) -> str:
    # the first question has no default, because each library has a server of its own
    text = "Address of the API" if default else "Address of the API (https://backlot.example.com)"
    return checked_url(given or _prompt(text, default=default or None))


def _ask(name: str, url: str, before: Account | None) -> Account:
    """Ask for key and secret. :param before: the refused account, whose values Enter keeps."""
    key = _environ("KEY") or _prompt("API key", default=before.api_key if before else None)
    shown = "API secret (not shown; Enter keeps it)" if before else "API secret (not shown)"
    kept = {"default": before.api_secret, "show_default": False} if before else {}
    secret = _environ("SECRET") or _prompt(shown, hide_input=True, **kept)
    redaction.hide(key.strip(), secret.strip())
    return Account(url, key.strip(), secret.strip(), default_cdn_url(url), name)


def _prompt(text: str, **options: Any) -> str:
    """Ask for a value. :raises SettingsError: nobody can answer."""
    try:
        # stdin is None if it is closed; input() would then end with a traceback
        if sys.stdin is not None:
            return str(click.prompt(text, **options))
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise  # Ctrl-C
    raise SettingsError(
        "standard input has no answer; run this on a terminal, or give every value: --profile, "
        "--api-url, and BACKLOT_API_KEY and BACKLOT_API_SECRET in the environment"
    )
