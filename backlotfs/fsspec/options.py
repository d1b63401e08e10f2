# SPDX-License-Identifier: Apache-2.0
"""The options of a file system: the account, and options of ``mount`` that need no mount.

They have the same names and values as those of ``mount``: ``layout="labels"``, ``memory="512M"``,
``metadata_ttl="1h"``. An option with several values takes a list or one value. A flag is True or
False.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mount import mount
from backlotfs.cli.mount_options import SETTING_OF, api_share_of, apply_mount_options
from backlotfs.config.profile_file import is_profile_name, profile_names
from backlotfs.config.profiles import environ_for, file_to_read, load_account
from backlotfs.config.settings import Account, MountSettings, default_cache_dir
from backlotfs.errors import SettingsError

#: Options that no command has, because every user of the machine could read them on a command line.
#: No `repr` of a file system shows them.
CREDENTIALS = ("api_key", "api_secret")
_ACCOUNT = (
    "profile",
    "config",
    "api_url",
    "cdn_url",
    "ca_bundle",
    "allow_source_host",
    "api_timeout",
    "proxy",
)
_LIBRARY = (
    "cache_dir",
    "cache_size",
    "keep_urls",
    "layout",
    "names",
    "read_timeout",
    "credit_wait",
    "api_share",
    "bwlimit",
    "memory",
    "metadata_ttl",
    "max_assets",
    "max_listing_bytes",
    "include",
    "exclude",
    "include_type",
    "include_status",
    "include_unavailable",
    "sidecars",
    "captions",
)
#: Options that programs may give to any file system of fsspec; this one ignores them.
_OF_FSSPEC = frozenset(
    {"asynchronous", "loop", "use_listings_cache", "listings_expiry_time", "max_paths"}
)
_PARAMETERS = {one.name: one for one in mount.params if one.name in (*_ACCOUNT, *_LIBRARY)}
KNOWN = (*_ACCOUNT, *CREDENTIALS, *_LIBRARY)


class Masked(str):
    """A secret that its `repr` hides, because a program may print the options of a file system."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<redacted>'"


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, each with the type of its setting.

    :raises ValueError: an option is unknown or its value is invalid; the text says what to write.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name in _OF_FSSPEC or value is None:
            continue
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, 1)
            guess = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"unknown option {name!r}; {guess}known: {', '.join(KNOWN)}")
        found[name] = _text(name, value) if name in CREDENTIALS else _converted(name, value)
    profile = found.get("profile")
    if profile is not None and not is_profile_name(profile):
        raise ValueError(
            f"{profile!r} is no name of a profile; write backlot://PROFILE/PATH, "
            "or backlot:///PATH for the only profile"
        )
    return found


def _text(name: str, value: object) -> Masked:
    if not isinstance(value, str):
        raise ValueError(f"option {name} must be a text")  # noqa: TRY004  # as all bad options
    return Masked(value)


def _converted(name: str, value: Any) -> Any:
    option = _PARAMETERS[name]
    convert = option.type.convert
    try:
        if getattr(option, "multiple", False):
            values = [value] if isinstance(value, str) else list(value)
            kind = frozenset if option.callback is not None else tuple
            return kind(convert(one, option, None) for one in values)
        if isinstance(value, list):  # a list of layouts
            value = tuple(value)
        return convert(os.fspath(value) if isinstance(value, Path) else value, option, None)
    except click.BadParameter as error:
        raise ValueError(f"option {name}: {error.message}") from None
    except TypeError:
        raise ValueError(f"option {name} cannot be {value!r}") from None


def settings_of(options: Mapping[str, Any]) -> MountSettings:
    """The settings of the library, with its account.

    The variables ``BACKLOT_API_…`` are used only if no profile is named. The ``options`` of the
    profile apply if they are not given here.

    :param options: see `checked`.
    :raises SettingsError: there is no such profile, or it cannot be used.
    """
    account = _account(options)
    given = {name: options[name] for name in _LIBRARY if name in options}
    cache_dir = Path(given.pop("cache_dir", None) or default_cache_dir(os.environ))
    settings = MountSettings(
        account,
        Path("/"),  # nothing is mounted
        cache_dir.expanduser().absolute(),
        api_share=api_share_of(account, given.pop("api_share", None)),
        **{SETTING_OF.get(name, name): value for name, value in given.items()},
    )
    return apply_mount_options(settings, [account.mount_options], settled=set(options))


def _account(options: Mapping[str, Any]) -> Account:
    config, profile = options.get("config"), options.get("profile")
    api_url, key, secret = (options.get(name) for name in ("api_url", *CREDENTIALS))
    environ = environ_for(profile, os.environ)
    file = file_to_read(environ, config=config, profile=profile, api_url=api_url or key)
    if file is not None and profile is None and len(names := profile_names(file)) > 1:
        raise SettingsError(
            f"{file} has several profiles; write backlot://PROFILE/PATH with one of: "
            + ", ".join(names)
        )
    return load_account(
        environ,
        config=config,
        profile=profile,
        api_url=api_url,
        api_key=key and str(key),  # a plain string instead of `Masked`
        api_secret=secret and str(secret),
        cdn_url=options.get("cdn_url"),
        ca_bundle=options.get("ca_bundle"),
        allow_source_hosts=options.get("allow_source_host", ()),
        api_timeout_s=options.get("api_timeout"),
        proxy=options.get("proxy"),
    )
