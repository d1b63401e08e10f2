# SPDX-License-Identifier: Apache-2.0
"""The account of a library, from options, the environment, a profile, or other places for secrets.

An option overrides the environment, which overrides the profile. Without any of these, the only
profile of the default file is used. There is no option for the secret: every user of the machine
could read it. A profile file that other users can read is refused::

    [profiles.main]
    api_url = "https://backlot.example"
    api_key = "…"
    api_secret_file = "/run/secrets/backlot"    # or api_secret, or api_secret_command
    options = "allow_other,uid=1000"            # mount options; the command line overrides them
    ca_bundle = "/etc/ssl/studio-ca.pem"        # trusted instead of the system's authorities
    allow_source_hosts = ["media.studio.example", "*.cdn.example", "10.1.0.0/16"]
    api_timeout = "60s"                         # longest silence of the API
    proxy = "http://proxy.example:3128"         # HTTP proxy for the API and the sources
    api_shares = { farm = "1/100" }             # names for --api-share

Credentials of systemd (``LoadCredential=api_key:…``, ``api_secret:…``) are read from
``CREDENTIALS_DIRECTORY``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from backlotfs.config import keyring_store
from backlotfs.config.api_share import parse_named_shares
from backlotfs.config.profile_file import (
    decoded,
    read_private,
    read_profile,
    unreadable,
)
from backlotfs.config.proxy import Proxy, parse_proxy
from backlotfs.config.settings import DEFAULT_API_URL, Account, SecretOrigin, default_cdn_url
from backlotfs.config.time_limits import (
    API_TIMEOUT_S,
    LEAST_API_TIMEOUT_S,
    MOST_TIMEOUT_S,
    parse_duration_s,
)
from backlotfs.errors import SettingsError
from backlotfs.log import redaction
from backlotfs.trusted_paths import read_regular

_SECRET_COMMAND_TIMEOUT_S = 30.0
#: The profile file of system-wide mounts.
SYSTEM_CONFIG = Path("/etc/backlotfs/config.toml")


def config_path() -> Path:
    """The default profile file: the user's, or if there is none, the system's."""
    own = own_config_path()
    return SYSTEM_CONFIG if not own.exists() and SYSTEM_CONFIG.exists() else own


def own_config_path() -> Path:
    """The path of this user's profile file, which may not exist yet."""
    return Path(platformdirs.user_config_dir("backlotfs")) / "config.toml"


def init_command(config: Path | None) -> str:
    """The command that makes a profile. :param config: the file, if it is not the default one."""
    return "backlotfs config init" + (f" --config {shlex.quote(str(config))}" if config else "")


def is_local(url: str) -> bool:
    """Whether an address, with or without its scheme, is an address of this machine."""
    return re.match(r"(https?://)?(localhost|127\.[0-9.]+|\[::1\])(:|/|\Z)", url) is not None


#: The variables that identify a library and its account.
_OF_LIBRARY = frozenset(
    {"BACKLOT_API_URL", "BACKLOT_API_KEY", "BACKLOT_API_SECRET", "BACKLOT_CDN_URL"}
)


def environ_for(profile: str | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment for a URL ``backlot://PROFILE/PATH``.

    For a command, the variables of a library override a profile. For a URL with a profile they are
    left out, because the profile names the library.
    """
    if profile is None:
        return environ
    return {name: value for name, value in environ.items() if name not in _OF_LIBRARY}


def load_account(
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    profile: str | None = None,
    api_url: str | None = None,
    api_key: str | None = None,
    api_secret: str | None = None,
    cdn_url: str | None = None,
    ca_bundle: Path | None = None,
    allow_source_hosts: Sequence[str] = (),
    api_timeout_s: float | None = None,
    proxy: str | None = None,
) -> Account:
    """Collect the account from all places, and redact its key and secret in all later log lines.

    :param api_key: given by a program, like ``api_secret``; commands have no such options.
    :param allow_source_hosts: added to those of the profile.
    :param proxy: from the command line, so it must not contain a password.
    :raises SettingsError: a setting is missing, malformed or readable by others; says what to do.
    """
    file = file_to_read(environ, config=config, profile=profile, api_url=api_url or api_key)
    entry: dict[str, Any] = {}
    if file is not None:
        profile, entry = read_profile(file, profile, remedy=_to_have_profiles(config))
    url = (
        api_url
        or _variable(environ, "BACKLOT_API_URL")
        or _text(entry, "api_url")
        or DEFAULT_API_URL
    )
    url = checked_url(url)
    key = (
        api_key
        or _variable(environ, "BACKLOT_API_KEY")
        or _text(entry, "api_key")
        or _credential(environ, "api_key")
    )
    secret, origin, secret_place = (
        (api_secret, *_named(SecretOrigin.PROGRAM))
        if api_secret
        else _secret(environ, entry, key or "")
    )
    if not key or not secret:
        missing = "key" if not key else "secret"
        raise SettingsError(
            f"no API {missing}: set BACKLOT_API_KEY and BACKLOT_API_SECRET, or create a profile: "
            "backlotfs config init"
        )
    redaction.hide(key, secret)
    cdn = cdn_url or _variable(environ, "BACKLOT_CDN_URL") or _text(entry, "cdn_url")
    cdn = checked_url(cdn) if cdn else None
    bundle = ca_bundle or _text(entry, "ca_bundle")
    return Account(
        url,
        key,
        secret,
        cdn or default_cdn_url(url),
        profile,
        _text(entry, "options") or "",
        # absolute, because a mount in the background changes its working directory
        ca_bundle=str(Path(bundle).expanduser().absolute()) if bundle else None,
        allow_source_hosts=(*allow_source_hosts, *_texts(entry, "allow_source_hosts")),
        secret_origin=origin,
        secret_place=secret_place,
        api_timeout_s=api_timeout_s or _api_timeout_s(entry),
        proxy=find_proxy(environ, proxy, _text(entry, "proxy")),
        api_shares=tuple(parse_named_shares(entry.get("api_shares", {})).items()),
    )


def find_proxy(
    environ: Mapping[str, str], option: str | None, setting: str | None = None
) -> Proxy | None:
    """The proxy of an option, else of the environment, else of a profile; None: no proxy is set.

    Its password is redacted in all later log lines.

    :raises SettingsError: see `backlotfs.config.proxy.parse_proxy`.
    """
    variable = _variable(environ, "BACKLOT_PROXY")
    if option:
        found = parse_proxy(option, "--proxy", public=True)
    elif variable:
        found = parse_proxy(variable, "BACKLOT_PROXY")
    elif setting:
        found = parse_proxy(setting, "setting proxy")
    else:
        return None
    redaction.hide(*found.secrets)
    return found


def checked_url(url: str) -> str:
    """The address of an API, without blanks around it and with its scheme in lower case.

    :raises SettingsError: the text is not such an address; says how to write one.
    """
    url = url.strip()
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        meant = url.rpartition(":/")[2].strip("/<>\"' ")
        # a server on this machine, such as the emulator, has no certificate
        raise SettingsError(
            f"the API URL {url!r} is not http:// or https://; "
            f"write it like {'http' if is_local(meant) else 'https'}://{meant}"
        )
    url = f"{scheme.lower()}://{rest}"
    version = re.search(r"/v2(?:/(?:assets|labels|deleted_assets)[^?#]*)?/*\Z", url)
    if version is not None:
        raise SettingsError(
            f"the API URL {url!r} ends with {version[0].rstrip('/')}, which every call adds; "
            f"write it without: {url[: version.start()]}"
        )
    return url


def file_to_read(
    environ: Mapping[str, str], *, config: Path | None, profile: str | None, api_url: str | None
) -> Path | None:
    """The profile file, if one is named or nothing else identifies the account; else None."""
    path = config or config_path()
    if config or profile:
        return path
    names = ("BACKLOT_API_URL", "BACKLOT_API_KEY", "BACKLOT_API_SECRET", "CREDENTIALS_DIRECTORY")
    elsewhere = api_url or any(environ.get(name) for name in names)
    return path if not elsewhere and path.exists() else None


def _to_have_profiles(config: Path | None) -> str:
    """What to do where there is no profile file."""
    if config is not None:
        return f"is its path right? create it: {init_command(config)}"
    if os.geteuid() == 0:  # with sudo or mount(8), the user's own file is not read
        copied = f"install -D -m 600 ~USER/.config/backlotfs/config.toml {SYSTEM_CONFIG}"
        return f"as root, create it: {init_command(None)}; or copy a user's: {copied}"
    return f"create it: {init_command(None)}"


def _secret(
    environ: Mapping[str, str], entry: dict[str, Any], api_key: str
) -> tuple[str | None, SecretOrigin, str]:
    """The secret, the kind of place that it came from, and the place in words."""
    given = _variable(environ, "BACKLOT_API_SECRET")
    if given:
        return given, *_named(SecretOrigin.ENVIRONMENT)
    given = _text(entry, "api_secret")
    if given:
        return given, *_named(SecretOrigin.PROFILE)
    file = _text(entry, "api_secret_file")
    if file:
        path = Path(file).expanduser()
        try:
            return read_private(path).strip(), _origin_of(environ, path), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise unreadable(path, error) from None
    command = entry.get("api_secret_command")
    if command:
        return _run(command), *_named(SecretOrigin.COMMAND)
    service = _text(entry, "api_secret_keyring")
    if service:
        secret = keyring_store.secret_of(service, api_key)
        return secret, SecretOrigin.KEYRING, f"the key store ({keyring_store.name()})"
    return _credential(environ, "api_secret"), *_named(SecretOrigin.CREDENTIALS)


def _named(origin: SecretOrigin) -> tuple[SecretOrigin, str]:
    return origin, origin.value


def _origin_of(environ: Mapping[str, str], path: Path) -> SecretOrigin:
    """The kind of a secret file: a credential of systemd, a plain file, or a pipe."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and Path(directory) in path.parents:
        return SecretOrigin.CREDENTIALS
    return SecretOrigin.FILE if path.is_file() else SecretOrigin.COMMAND


def _run(command: object) -> str:
    words = shlex.split(command) if isinstance(command, str) else command
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise SettingsError("api_secret_command must be a command line or a list of words")
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False,
            timeout=_SECRET_COMMAND_TIMEOUT_S,
        )  # fmt: skip
        secret = decoded(done.stdout).strip()
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise SettingsError(
            f"api_secret_command {words[0]!r} failed: {type(error).__name__}; try it in a shell"
        ) from None
    if done.returncode or not secret:
        raise SettingsError(
            f"api_secret_command {words[0]!r} gave no secret (exit {done.returncode}); "
            "try it in a shell: it must print the secret and end with 0"
        )
    return secret


def _variable(environ: Mapping[str, str], name: str) -> str | None:
    """The value of a variable, without a byte order mark and white space around it."""
    return environ.get(name, "").removeprefix("\ufeff").strip() or None


def _credential(environ: Mapping[str, str], name: str) -> str | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        # do not check the mode: systemd protects the file by an access control list
        return decoded(read_regular(Path(directory) / name)).strip()
    except (OSError, UnicodeDecodeError):
        return None


def _api_timeout_s(entry: dict[str, Any]) -> float:
    value = entry.get("api_timeout")
    if value is None:
        return API_TIMEOUT_S
    seconds = parse_duration_s(str(value))
    if seconds is None or not LEAST_API_TIMEOUT_S <= seconds <= MOST_TIMEOUT_S:
        raise SettingsError(
            f"setting api_timeout: {value!r} is not a duration from 1s to 24h, such as 60s"
        )
    return seconds


def _text(entry: dict[str, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"setting {name} must be a text, in quotes")
    return value


def _texts(entry: dict[str, Any], name: str) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f'setting {name} must be a list of texts: {name} = ["…"]')
    return value
