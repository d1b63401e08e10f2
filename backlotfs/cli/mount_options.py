"""``-o``: options as mount(8) and fstab spell them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import click

from backlotfs.cli.param_types import Duration
from backlotfs.config.settings import SHARED_THUMBNAILS, SUBTYPES, UNSIZED, MountSettings
from backlotfs.config.time_limits import LEAST_API_TIMEOUT_S, parse_duration_s
from backlotfs.errors import SettingsError
from backlotfs.log import output

#: What is so anyway, or says nothing to a file system.
IMPLIED = frozenset({"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"})
#: What `apply_mount_options` takes beside those, with what the manual says of it: the value's name
#: (None: it takes none) and the meaning.
SETTABLE: dict[str, tuple[str | None, str]] = {
    "allow_other": (
        None,
        "Let other users in, held to `umask`; needs `user_allow_other` in `/etc/fuse.conf` unless "
        "root mounts.",
    ),
    "api_timeout": ("DURATION", "As `--api-timeout`: how long the API may be silent [25s]."),
    "captions": (
        None,
        "Beside each file, its captions: *NAME*`.dfxp`, `.vtt`, `.srt` or `.scc`, once they are "
        "found; one API call for each asset and each touch of it.",
    ),
    "credit_wait": ("DURATION", "As `--credit-wait`."),
    "forget_urls": (None, "As `--forget-urls`."),
    "fsname": (
        "NAME",
        "What `df`, `findmnt` and mountinfo call it [`backlot:`*PROFILE*]; the first field of "
        "fstab, for `mount -a`.",
    ),
    "gid": ("GID", "Group of all files [that of who mounts]."),
    "keep_urls": ("yes|no", "As `--keep-urls`, or `--no-keep-urls`; without a value: `yes`."),
    "log_file": ("FILE", "As `--log-file`."),
    "log_format": ("text|json", "As `--log-format`."),
    "log_level": ("LEVEL", "As `--log-level`."),
    "no_wait": ("PROGRAM[:PROGRAM…]", "As `--no-wait`; `no-wait` is the same."),
    "read_timeout": ("DURATION", "As `--read-timeout`."),
    "shared_thumbnails": (
        "hidden|listed",
        "As `--shared-thumbnails`; without a value: `hidden`.",
    ),
    "sidecars": (None, "Beside each file, what the library says of it: *NAME*`.json`."),
    "stat_timeout": ("DURATION", "As `--stat-timeout`."),
    "subtype": (
        "backlotfs|sshfs",
        "As `--subtype`. `sshfs`: for programs that take only known types for remote.",
    ),
    "uid": ("UID", "Owner of all files [who mounts]."),
    "unsized": ("wait|hide|fail", "As `--unsized`."),
    "umask": ("OCTAL", "Permissions taken away from 0444 of files and 0555 of folders [022]."),
}
#: Options that take a duration, by the setting they change.
_DURATIONS = {
    "credit_wait": "credit_wait_s",
    "read_timeout": "read_timeout_s",
    "stat_timeout": "stat_timeout_s",
}
#: (uid_t)-1 means "nobody in particular" to the kernel.
_LARGEST_ID = 2**32 - 2
_SECRETS = ("api_key", "api_secret", "secret", "password", "key", "token")
#: Up to the next comma that is not between double quotes, as mount(8) splits.
_OPTION = re.compile(r'(?:"[^"]*"|[^,])+')


def split_options(options: str) -> list[tuple[str, str]]:
    """Name and value of each option of a comma list; ``a="b,c"`` is one, its value ``b,c``."""
    found = []
    for option in _OPTION.findall(options):
        name, _, value = option.strip().partition("=")
        if name:
            found.append((name, value.replace('"', "")))
    return found


def refuse_secret(name: str) -> None:
    """:raises SettingsError: an option of this name would show a secret to every user."""
    if name.replace("-", "_") in _SECRETS:
        raise SettingsError(
            f"option {name} is refused: every user could read it; use the environment or a profile"
        )


def apply_mount_options(
    settings: MountSettings, options: Iterable[str], *, settled: Collection[str] = ()
) -> MountSettings:
    """``settings`` as the comma lists of ``-o`` change them.

    :param settled: options that stay as they are, since something stronger has set them.
    :raises SettingsError: for an unknown option, a secret, or ``rw``.
    """
    for name, value in split_options(",".join(options)):
        if name in IMPLIED or name in settled:
            continue
        refuse_secret(name)
        if name in ("rw", "suid", "dev", "exec"):
            raise SettingsError(f"option {name} is refused: the library is mounted read-only")
        if name == "allow_other":
            settings = replace(settings, allow_other=True)
        elif name == "api_timeout":
            account = replace(settings.account, api_timeout_s=_api_timeout_s(name, value))
            settings = replace(settings, account=account)
        elif name == "shared_thumbnails":
            chosen = _one_of(name, value or SHARED_THUMBNAILS[0], SHARED_THUMBNAILS)
            settings = replace(settings, shared_thumbnails=chosen)
        elif name == "captions":
            settings = replace(settings, captions=True)
        elif name == "sidecars":
            settings = replace(settings, sidecars=True)
        elif name == "keep_urls":
            chosen = _one_of(name, value or "yes", ("yes", "no"))
            settings = replace(settings, keep_urls=chosen == "yes")
        elif name == "forget_urls":
            settings = replace(settings, forget_urls=True)
        elif name == "fsname":
            settings = replace(settings, fsname=value or None)
        elif name == "subtype":
            settings = replace(settings, subtype=_one_of(name, value, SUBTYPES))
        elif name == "uid":
            settings = replace(settings, uid=_number(name, value, 10))
        elif name == "gid":
            settings = replace(settings, gid=_number(name, value, 10))
        elif name == "umask":
            settings = replace(settings, umask=_number(name, value, 8))
        elif name == "unsized":
            settings = replace(settings, unsized=_one_of(name, value, UNSIZED))
        elif name in ("no_wait", "no-wait"):
            programs = tuple(program for program in value.split(":") if program)
            settings = replace(settings, no_wait=(*settings.no_wait, *programs))
        elif name in _DURATIONS:
            settings = replace(settings, **{_DURATIONS[name]: _duration(name, value)})  # type: ignore[arg-type]  # each of them takes seconds
        elif name == "log_file":
            settings = replace(settings, log_place=_file(name, value))
        elif name == "log_format":
            settings = replace(settings, log_format=_one_of(name, value, output.FORMATS))
        elif name == "log_level":
            settings = replace(settings, log_level=_one_of(name, value.lower(), output.LEVELS))
        else:
            raise SettingsError(f"unknown mount option {name!r}")
    return settings


def _duration(name: str, value: str) -> float:
    try:
        return float(Duration().convert(value, None, None))
    except click.BadParameter as error:
        raise SettingsError(f"option {name}: {error.message}") from None


def _api_timeout_s(name: str, value: str) -> float:
    seconds = parse_duration_s(value)
    if seconds is None or seconds < LEAST_API_TIMEOUT_S:
        raise SettingsError(f"option {name}={value} is not a duration of 1s or more, such as 60s")
    return seconds


def _file(name: str, value: str) -> str:
    if not value:
        raise SettingsError(f"option {name} wants a file")
    # absolute, since a mount in the background leaves the folder it was made from
    return str(Path(value).expanduser().absolute())


def _one_of(name: str, value: str, known: Collection[str]) -> str:
    if value not in known:
        raise SettingsError(f"option {name} is one of {', '.join(known)}, not {value!r}")
    return value


def _number(name: str, value: str, base: int) -> int:
    if not value.isdigit():
        raise SettingsError(f"option {name} wants a number, not {value!r}")
    try:
        number = int(value, base)
    except ValueError:
        number = -1
    if not 0 <= number <= (0o777 if base == 8 else _LARGEST_ID):
        raise SettingsError(f"option {name}={value} is out of range")
    return number
