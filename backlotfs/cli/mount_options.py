# SPDX-License-Identifier: Apache-2.0
"""``-o``: options in the form of mount(8) and fstab."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import click

from backlotfs.catalog.choice import parse_rule
from backlotfs.cli.param_types import Duration
from backlotfs.config.api_share import WHOLE, share_of
from backlotfs.config.listen_address import ListenAddress, parse_listen_address
from backlotfs.config.proxy import parse_proxy
from backlotfs.config.settings import (
    FUSE_BINDINGS,
    SHARED_THUMBNAILS,
    SUBTYPES,
    UNSIZED,
    Account,
    MountSettings,
)
from backlotfs.config.time_limits import (
    LEAST_API_TIMEOUT_S,
    LEAST_READ_TIMEOUT_S,
    MOST_TIMEOUT_S,
)
from backlotfs.errors import SettingsError
from backlotfs.log import output

#: Options that always apply to the mount, or have no meaning for it.
IMPLIED = frozenset({"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"})
#: Options of `apply_mount_options`, for the manual: the name of the value (None: the option takes
#: none) and the meaning.
SETTABLE: dict[str, tuple[str | None, str]] = {
    "allow_other": (
        None,
        "Allow access by other users, within `umask`; needs `user_allow_other` in "
        "`/etc/fuse.conf` unless root mounts.",
    ),
    "api_share": ("PART|NAME", "As `--api-share`: `1/100`, `2%`, or a name of the profile."),
    "api_timeout": ("DURATION", "As `--api-timeout`: longest silence of the API [25s]."),
    "captions": (
        None,
        "Add captions beside each file: *NAME*`.dfxp`, `.vtt`, `.srt` or `.scc`; one API call for "
        "each asset and each change of it.",
    ),
    "credit_wait": ("DURATION", "As `--credit-wait`."),
    "exclude": ("RULE", "As `--exclude`; may be given several times."),
    "forget_urls": (None, "As `--forget-urls`."),
    "fsname": (
        "NAME",
        "Name in `df`, `findmnt` and mountinfo [`backlot:`*PROFILE*]; set to the first field of "
        "fstab for `mount -a`.",
    ),
    "fuse_binding": ("auto|session|fusepy", "As `--fuse-binding`."),
    "gid": ("GID", "Group of all files [that of the user who mounts]."),
    "include": ("RULE", "As `--include`; may be given several times."),
    "keep_urls": ("yes|no", "As `--keep-urls`, or `--no-keep-urls`; without a value: `yes`."),
    "log_file": ("FILE", "As `--log-file`."),
    "log_format": ("text|json", "As `--log-format`."),
    "log_level": ("LEVEL", "As `--log-level`."),
    "metrics": ("ADDRESS", "As `--metrics`."),
    "no_wait": ("PROGRAM[:PROGRAM…]", "As `--no-wait`; `no-wait` is the same."),
    "passthrough": ("yes|no", "As `--passthrough`, or `--no-passthrough`; without a value: `yes`."),
    "proxy": ("URL", "As `--proxy`, without a name and password: `http://HOST:PORT`."),
    "read_timeout": ("DURATION", "As `--read-timeout`."),
    "shared_thumbnails": (
        "hidden|listed",
        "As `--shared-thumbnails`; without a value: `hidden`.",
    ),
    "sidecars": (None, "Add *NAME*`.json` with the metadata beside each file."),
    "stat_timeout": ("DURATION", "As `--stat-timeout`."),
    "subtype": (
        "backlotfs|sshfs",
        "As `--subtype`. `sshfs`: for programs that know remote file systems only by type.",
    ),
    "traces": (None, "As `--traces`."),
    "uid": ("UID", "Owner of all files [the user who mounts]."),
    "unsized": ("wait|hide|fail", "As `--unsized`."),
    "umask": ("OCTAL", "Permission bits to remove from 0666 of files and 0777 of folders [022]."),
}
#: Fields of `MountSettings` for the options of ``mount`` that have another name.
SETTING_OF = {
    "layout": "layouts",
    "memory": "memory_bytes",
    "cache_size": "cache_bytes",
    "bwlimit": "bandwidth_bytes_s",
    "metadata_ttl": "metadata_ttl_s",
    "credit_wait": "credit_wait_s",
    "read_timeout": "read_timeout_s",
    "stat_timeout": "stat_timeout_s",
    "log_file": "log_place",
    "include_type": "types",
    "include_status": "statuses",
}
_DURATIONS = {
    "api_timeout": Duration(LEAST_API_TIMEOUT_S, MOST_TIMEOUT_S),
    "credit_wait": Duration(),
    "read_timeout": Duration(LEAST_READ_TIMEOUT_S, MOST_TIMEOUT_S),
    "stat_timeout": Duration(most_s=MOST_TIMEOUT_S),
}
#: (uid_t)-1 has a special meaning for the kernel.
_LARGEST_ID = 2**32 - 2
_SECRETS = ("api_key", "api_secret", "secret", "password", "key", "token")
#: The text up to the next comma that is not between double quotes, as in mount(8).
_OPTION = re.compile(r'(?:"[^"]*"|[^,])+')


def split_options(options: str) -> list[tuple[str, str]]:
    """Split a comma list into names and values; the value of ``a="b,c"`` is ``b,c``."""
    found = []
    for option in _OPTION.findall(options):
        name, _, value = option.strip().partition("=")
        if name:
            found.append((name, value.replace('"', "")))
    return found


def refuse_secret(name: str, value: str) -> None:
    """:raises SettingsError: this option would show a secret to every user."""
    if name == "proxy" and "@" in value:
        parse_proxy(value, "option proxy", public=True)
    if name.replace("-", "_") in _SECRETS:
        raise SettingsError(
            f"option {name} is refused: every user could read it; use the environment or a profile"
        )


def unknown_option(name: str, known: Collection[str], others: str = "") -> SettingsError:
    """The error for an unknown option. It names the known options, and the most similar one.

    :param others: text that says where to find the other options.
    """
    near = difflib.get_close_matches(name.replace("-", "_"), known, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return SettingsError(
        f"unknown mount option {name!r}; {guess}known: {', '.join(sorted(known))}{others}"
    )


def apply_mount_options(
    settings: MountSettings, options: Iterable[str], *, settled: Collection[str] = ()
) -> MountSettings:
    """Apply the comma lists of ``-o`` to ``settings``.

    :param settled: options to ignore, because the command line has set them.
    :raises SettingsError: an option is unknown or refused, or its value is invalid.
    """
    for given, value in split_options(",".join(options)):
        name = "no_wait" if given == "no-wait" else given
        if name in IMPLIED or name in settled:
            continue
        refuse_secret(name, value)
        if name in ("rw", "suid", "dev", "exec"):
            raise SettingsError(f"option {name} is refused: the library is mounted read-only")
        if name not in SETTABLE:
            raise unknown_option(name, SETTABLE, "; for the others: backlotfs mount --help")
        if name == "api_timeout":
            account = replace(settings.account, api_timeout_s=_duration(name, value))
            settings = replace(settings, account=account)
            continue
        if name == "proxy":
            account = replace(settings.account, proxy=parse_proxy(value, "option proxy"))
            settings = replace(settings, account=account)
            continue
        changed: object
        match name:
            case "allow_other" | "captions" | "forget_urls" | "sidecars" | "traces":
                changed = True
            case "shared_thumbnails":
                changed = _one_of(name, value or SHARED_THUMBNAILS[0], SHARED_THUMBNAILS)
            case "passthrough":
                changed = _one_of(name, value or "yes", ("yes", "no")) == "yes"
            case "keep_urls":
                changed = _one_of(name, value or "yes", ("yes", "no")) == "yes"
            case "fsname":
                changed = value or None
            case "subtype":
                changed = _one_of(name, value, SUBTYPES)
            case "unsized":
                changed = _one_of(name, value, UNSIZED)
            case "fuse_binding":
                changed = _one_of(name, value, FUSE_BINDINGS)
            case "uid" | "gid":
                changed = _number(name, value, 10)
            case "umask":
                changed = _number(name, value, 8)
            case "no_wait":
                changed = (*settings.no_wait, *filter(None, value.split(":")))
            case "include":
                changed = (*settings.include, _rule(name, value))
            case "exclude":
                changed = (*settings.exclude, _rule(name, value))
            case "api_share":
                changed = share_of(value, dict(settings.account.api_shares))
            case "credit_wait" | "read_timeout" | "stat_timeout":
                changed = _duration(name, value)
            case "log_file":
                changed = _file(name, value)
            case "metrics":
                changed = _listen(name, value)
            case "log_format":
                changed = _one_of(name, value, output.FORMATS)
            case _:  # log_level
                changed = _one_of(name, value.lower(), output.LEVELS)
        settings = replace(settings, **{SETTING_OF.get(name, name): changed})  # type: ignore[arg-type]  # each case makes the type of its field
    return settings


def api_share_of(account: Account, given: str | None) -> Fraction:
    """The part of the account's API credits for this process.

    :param given: the value of ``--api-share``; None: use the ``options`` of the profile.
    :raises SettingsError: the value is no share.
    """
    found = dict(split_options(account.mount_options)).get("api_share")
    share = found if given is None else given
    return WHOLE if share is None else share_of(share, dict(account.api_shares))


def _duration(name: str, value: str) -> float:
    try:
        return float(_DURATIONS[name].convert(value, None, None))
    except click.BadParameter as error:
        raise SettingsError(f"option {name}: {error.message}") from None


def _rule(name: str, value: str) -> str:
    try:
        return parse_rule(value).text
    except SettingsError as error:
        raise SettingsError(f"option {name}: {error}") from None


def _listen(name: str, value: str) -> ListenAddress:
    try:
        return parse_listen_address(value)
    except SettingsError as error:
        raise SettingsError(f"option {name}: {error}") from None


def _file(name: str, value: str) -> str:
    if not value:
        raise SettingsError(f"option {name} needs a file: {name}=FILE")
    # absolute, because a mount in the background changes its working directory
    return str(Path(value).expanduser().absolute())


def _one_of(name: str, value: str, known: Collection[str]) -> str:
    if value not in known:
        raise SettingsError(f"option {name} must be one of {', '.join(known)}, not {value!r}")
    return value


def _number(name: str, value: str, base: int) -> int:
    if not value.isdigit():
        raise SettingsError(f"option {name} needs a number, not {value!r}")
    try:
        number = int(value, base)
    except ValueError:
        number = -1
    most = 0o777 if base == 8 else _LARGEST_ID
    if not 0 <= number <= most:
        shown = f"{most:o} (octal)" if base == 8 else f"{most}"
        raise SettingsError(f"option {name}={value} is out of range; give 0 to {shown}")
    return number
