"""Who we are for the API: from options, the environment, a profile file, a secret file or command.

Never from a command-line option for the secret, which every user of the machine could read.

Precedence: option, environment, profile. Where nothing else says where to and as whom, the only
profile of the usual file is taken. A profile file that others can read is refused::

    [profiles.main]
    api_url = "https://backlot.example"
    api_key = "…"
    api_secret_file = "/run/secrets/backlot"    # or api_secret, or api_secret_command
    options = "allow_other,uid=1000"            # as -o takes them, which comes after them
    ca_bundle = "/etc/ssl/studio-ca.pem"        # trusted instead of the system's authorities
    allow_source_hosts = ["media.studio.example", "*.cdn.example", "10.1.0.0/16"]
    api_timeout = "60s"                         # how long the API may be silent

systemd's ``LoadCredential=api_key:…`` and ``api_secret:…`` are found by ``CREDENTIALS_DIRECTORY``.
"""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from backlotfs.config import keyring_store
from backlotfs.config.profile_keys import PROFILE_KEYS
from backlotfs.config.settings import DEFAULT_API_URL, Account, SecretOrigin, default_cdn_url
from backlotfs.config.time_limits import API_TIMEOUT_S, LEAST_API_TIMEOUT_S, parse_duration_s
from backlotfs.errors import SettingsError
from backlotfs.log import redaction
from backlotfs.trusted_paths import UntrustedPath, read_regular, read_secret

_SECRET_COMMAND_TIMEOUT_S = 30.0
#: Where the profiles of system-wide mounts are.
SYSTEM_CONFIG = Path("/etc/backlotfs/config.toml")


def config_path() -> Path:
    """Where the profile file is when no option names it: the user's, else the system's."""
    own = Path(platformdirs.user_config_dir("backlotfs")) / "config.toml"
    return SYSTEM_CONFIG if not own.exists() and SYSTEM_CONFIG.exists() else own


def load_account(
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    profile: str | None = None,
    api_url: str | None = None,
    cdn_url: str | None = None,
    ca_bundle: Path | None = None,
    allow_source_hosts: Sequence[str] = (),
    api_timeout_s: float | None = None,
) -> Account:
    """Collect what is needed to sign requests, and whom to trust beside.

    From now on the secret and the key are taken out of every log line of the process.

    :param allow_source_hosts: beside those of the profile.
    :raises SettingsError: something is missing, malformed or readable by others; says what to do.
    """
    file = file_to_read(environ, config=config, profile=profile, api_url=api_url)
    entry = _profile(file, profile) if file is not None else {}
    url = api_url or environ.get("BACKLOT_API_URL") or _text(entry, "api_url") or DEFAULT_API_URL
    check_url(url)
    key = (
        environ.get("BACKLOT_API_KEY") or _text(entry, "api_key") or _credential(environ, "api_key")
    )
    secret, origin, secret_place = _secret(environ, entry, key or "")
    if not key or not secret:
        missing = "key" if not key else "secret"
        raise SettingsError(
            f"no API {missing}: set BACKLOT_API_KEY and BACKLOT_API_SECRET, or make a profile: "
            "backlotfs config init"
        )
    redaction.hide(key, secret)
    cdn = cdn_url or environ.get("BACKLOT_CDN_URL") or _text(entry, "cdn_url")
    bundle = ca_bundle or _text(entry, "ca_bundle")
    return Account(
        url,
        key,
        secret,
        cdn or default_cdn_url(url),
        profile,
        _text(entry, "options") or "",
        # absolute, since a mount in the background leaves the folder it was made from
        ca_bundle=str(Path(bundle).expanduser().absolute()) if bundle else None,
        allow_source_hosts=(*allow_source_hosts, *_texts(entry, "allow_source_hosts")),
        secret_origin=origin,
        secret_place=secret_place,
        api_timeout_s=api_timeout_s or _api_timeout_s(entry),
    )


def check_url(url: str) -> None:
    """:raises SettingsError: it is no address of an API; says how to write one."""
    if not url.startswith(("http://", "https://")):
        meant = url.rpartition("://")[2]
        raise SettingsError(
            f"the API URL {url!r} is not http:// or https://; write it like https://{meant}"
        )


def file_to_read(
    environ: Mapping[str, str], *, config: Path | None, profile: str | None, api_url: str | None
) -> Path | None:
    """The profile file, when one is asked for, or nothing else says where to and as whom."""
    path = config or config_path()
    if config or profile:
        return path
    names = ("BACKLOT_API_URL", "BACKLOT_API_KEY", "BACKLOT_API_SECRET", "CREDENTIALS_DIRECTORY")
    elsewhere = api_url or any(environ.get(name) for name in names)
    return path if not elsewhere and path.exists() else None


def _profile(path: Path, name: str | None) -> dict[str, Any]:
    try:
        document = tomllib.loads(_read_private(path))
    except FileNotFoundError:
        raise SettingsError(
            f"no configuration file {path}; make it: backlotfs config init"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read: {type(error).__name__}; see: ls -l {path}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}; mend that line") from None
    profiles = document.get("profiles")
    if not isinstance(profiles, dict):
        raise SettingsError(f"{path} has no [profiles.NAME] table; add one: backlotfs config init")
    if name is None and len(profiles) == 1:
        name = next(iter(profiles))
    entry = profiles.get(name) if name is not None else None
    if not isinstance(entry, dict):
        known = ", ".join(sorted(profiles))
        if name is None:
            raise SettingsError(f"{path} has several profiles; name one with --profile: {known}")
        raise SettingsError(f"{path} has no profile {name}; it has: {known}")
    unknown = sorted(set(entry) - {key.name for key in PROFILE_KEYS})
    if unknown:
        raise SettingsError(
            f"{path}, profile {name}: unknown setting {unknown[0]!r}; known are "
            + ", ".join(key.name for key in PROFILE_KEYS)
        )
    return entry


def _secret(
    environ: Mapping[str, str], entry: dict[str, Any], api_key: str
) -> tuple[str | None, SecretOrigin, str]:
    """The secret, the kind of place where it was found, and that place in words."""
    given = environ.get("BACKLOT_API_SECRET")
    if given:
        return given, *_named(SecretOrigin.ENVIRONMENT)
    given = _text(entry, "api_secret")
    if given:
        return given, *_named(SecretOrigin.PROFILE)
    file = _text(entry, "api_secret_file")
    if file:
        path = Path(file).expanduser()
        try:
            return _read_private(path).strip(), _origin_of(environ, path), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"the secret file {path} cannot be read: {type(error).__name__}; see: ls -l {path}"
            ) from None
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
    """What a secret file is: systemd's credentials have paths too, and a pipe holds nothing."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and Path(directory) in path.parents:
        return SecretOrigin.CREDENTIALS
    return SecretOrigin.FILE if path.is_file() else SecretOrigin.COMMAND


def _run(command: object) -> str:
    words = shlex.split(command) if isinstance(command, str) else command
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise SettingsError("api_secret_command is a command line, or a list of words")
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False, text=True,
            timeout=_SECRET_COMMAND_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise SettingsError(
            f"api_secret_command {words[0]!r} failed: {type(error).__name__}"
        ) from None
    if done.returncode or not done.stdout.strip():
        raise SettingsError(
            f"api_secret_command {words[0]!r} gave no secret (exit {done.returncode})"
        )
    return done.stdout.strip()


def _credential(environ: Mapping[str, str], name: str) -> str | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        # systemd lets this unit alone in, by an access control list: the mode says nothing of it
        return read_regular(Path(directory) / name).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _read_private(path: Path) -> str:
    """A text file that nobody else can read, replace or have made.

    :raises SettingsError: others can; the message has the command that mends it.
    :raises OSError, UnicodeDecodeError: it cannot be read.
    """
    try:
        return read_secret(path).decode("utf-8")
    except UntrustedPath as error:
        raise SettingsError(str(error)) from None


def _api_timeout_s(entry: dict[str, Any]) -> float:
    value = entry.get("api_timeout")
    if value is None:
        return API_TIMEOUT_S
    seconds = parse_duration_s(str(value))
    if seconds is None or seconds < LEAST_API_TIMEOUT_S:
        raise SettingsError(
            f"setting api_timeout: {value!r} is not a duration of 1s or more; write it like 60s"
        )
    return seconds


def _text(entry: dict[str, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"setting {name} is not a text")
    return value


def _texts(entry: dict[str, Any], name: str) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f"setting {name} is not a list of texts")
    return value
