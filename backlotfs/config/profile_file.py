# SPDX-License-Identifier: Apache-2.0
"""The profile file ``config.toml``: what a profile may contain, and how it is read and written.

tomlkit reads and writes the file, so all other content keeps its comments and its order. Written
files are private (0600) and replaced as a whole. `PROFILE_KEYS` is the source of the reference in
the documentation.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backlotfs.concurrency.file_lock import lock_within
from backlotfs.errors import SettingsError
from backlotfs.trusted_paths import UntrustedPath, open_place, read_regular, read_secret

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
#: Longest wait for another command that edits the file.
_LOCK_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """One key of ``[profiles.NAME]``.

    :ivar kind: type of the value: ``text``, ``list of texts``, ``text or list of words``, ``table
        of texts``.
    :ivar default: the value if the key is absent, for people. :ivar meaning: one or more sentences.
    """

    name: str
    kind: str
    default: str
    meaning: str


PROFILE_KEYS = (
    ProfileKey(
        "api_url",
        "text",
        "`https://api.ooyala.com`",
        "Address of the API, `http://` or `https://`. `BACKLOT_API_URL` and `--api-url` override "
        "it.",
    ),
    ProfileKey(
        "cdn_url",
        "text",
        "none; `https://cdn-api.ooyala.com` for the API's own default",
        "Host for GETs whose answer may be five minutes old; they cost no API credits. "
        "`BACKLOT_CDN_URL` and `--cdn-url` override it.",
    ),
    ProfileKey(
        "api_key",
        "text",
        "the credential `api_key` of systemd",
        "API key of the account. `BACKLOT_API_KEY` overrides it.",
    ),
    ProfileKey(
        "api_secret",
        "text",
        "see the next three",
        "API secret of the account. `BACKLOT_API_SECRET` overrides it.",
    ),
    ProfileKey(
        "api_secret_file",
        "text",
        "none",
        "File that contains only the secret and that only you can read.",
    ),
    ProfileKey(
        "api_secret_command",
        "text or list of words",
        "the credential `api_secret` of systemd",
        "Command that prints the secret within 30 s, such as `pass show backlot`. It is run "
        "without a shell.",
    ),
    ProfileKey(
        "api_secret_keyring",
        "text",
        "none",
        "Name of the service in the desktop's key store under which the secret for `api_key` is "
        "saved. `backlotfs config init --keyring` saves it. Needs the extra `keyring`.",
    ),
    ProfileKey(
        "options",
        "text",
        "none",
        "Mount options as for `-o`: `allow_other,uid=1000,log_format=json`. Options on the command "
        "line override them.",
    ),
    ProfileKey(
        "ca_bundle",
        "text",
        "the system's authorities",
        "PEM file with the authorities to trust instead. `--ca-bundle` overrides it.",
    ),
    ProfileKey(
        "allow_source_hosts",
        "list of texts",
        "`[]`",
        "Hosts, `*.domains` and networks (`10.1.0.0/16`) that sources may be on or be redirected "
        "to, even with private addresses. `--allow-source-host` adds to them.",
    ),
    ProfileKey(
        "api_timeout",
        "text",
        "`25s`",
        "Longest silence of the API before and within an answer: `60s`, `2m`. `--api-timeout` "
        "overrides it.",
    ),
    ProfileKey(
        "proxy",
        "text",
        "none: connections are direct",
        "HTTP proxy for all connections to the API and to source hosts: `http://HOST:PORT`, or "
        "`http://NAME:PASSWORD@HOST:PORT`, percent-encoded. `BACKLOT_PROXY` and `--proxy` override "
        "it.",
    ),
    ProfileKey(
        "api_shares",
        "table of texts",
        "`{}`",
        'Names for shares of the account\'s API calls: `{ farm = "1/100", edit = "20%" }`. '
        "`--api-share farm` uses one.",
    ),
)


def is_profile_name(name: str) -> bool:
    """Whether the name can be written in a table header and in a mount's source without quotes."""
    return bool(_NAME.match(name))


def read_profile(
    path: Path, name: str | None, *, remedy: str = "create it: backlotfs config init"
) -> tuple[str, dict[str, Any]]:
    """The name and the settings of one profile; without a name, of the only profile in the file.

    :param remedy: text for the error: what to do if the file does not exist.

    :raises SettingsError: the file is missing, malformed or readable by others, it has no such
        profile, or the profile has an unknown key; says what to do.
    """
    profiles = _parse(_private_text(path, remedy), path).unwrap().get("profiles")
    if not profiles or not isinstance(profiles, dict):
        raise SettingsError(f"{path} has no [profiles.NAME] table; add one: backlotfs config init")
    if name is None and len(profiles) == 1:
        name = next(iter(profiles))
    entry = profiles.get(name) if name is not None else None
    if name is None or not isinstance(entry, dict):
        known = ", ".join(sorted(profiles))
        if name is None:
            raise SettingsError(f"{path} has several profiles; choose with --profile: {known}")
        raise SettingsError(f"{path} has no profile {name}; it has: {known}")
    known_keys = [key.name for key in PROFILE_KEYS]
    unknown = sorted(set(entry) - set(known_keys))
    if unknown:
        raise SettingsError(
            f"{path}, profile {name}: unknown setting {unknown[0]!r}; known are "
            + ", ".join(known_keys)
        )
    return name, entry


def check_profile_file(path: Path) -> None:
    """Check the file, but not the content of its profiles.

    :raises SettingsError: the file is missing, malformed or readable by others; says what to do.
    """
    _profiles(_parse(_private_text(path, "name another one"), path), path)


def _private_text(path: Path, remedy: str) -> str:
    try:
        return read_private(path)
    except FileNotFoundError:
        raise SettingsError(f"no profile file {path}; {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None


def profile_names(path: Path) -> list[str]:
    """The names of all profiles, sorted; none if there is no file.

    :raises SettingsError: the file cannot be read, or is not valid.
    """
    return sorted(read_profiles(path))


def read_profiles(path: Path) -> dict[str, Any]:
    """All profiles by name, with unchecked content; none if there is no file.

    :raises SettingsError: the file cannot be read, or is not valid.
    """
    return dict(_profiles(_parse(_text_of(path), path), path))


def write_profile(path: Path, name: str, settings: Mapping[str, str]) -> None:
    """Write the profile ``[profiles.NAME]``; replace an existing one, and keep all others.

    The file gets the mode 0600. Folders that are created get the mode 0700.

    :raises SettingsError: the file cannot be read or written, and is unchanged.
    """
    import tomlkit

    with _edited_alone(path, make=True):
        document = _parse(_text_of(path), path)
        wanted = {**_profiles(document, path).copy(), name: dict(settings)}
        profiles = document.setdefault("profiles", tomlkit.table(is_super_table=True))
        try:
            entry = profiles.get(name)
            if isinstance(entry, MutableMapping):  # comments of the keys that stay are kept
                for key in entry.keys() - settings.keys():
                    del entry[key]
                entry.update(settings)
            else:
                profiles[name] = tomlkit.item(dict(settings))
            text = tomlkit.dumps(document)
            written = _profiles(_parse(text, path), path)
        except (ValueError, SettingsError):
            written = {}
        if written != wanted:
            raise SettingsError(f"{path} has a form that cannot be edited; edit it by hand")
        _write(path, text)


@contextlib.contextmanager
def _edited_alone(path: Path, *, make: bool) -> Iterator[None]:
    """Keep other commands from editing the file inside the block: its folder is locked by flock(2).

    If the folder cannot be locked within `_LOCK_WAIT_S`, the file is edited without the lock.

    :param make: make missing folders.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, UntrustedPath):  # to write the file will fail too
            place, _ = open_place(path, make=make)
            stack.callback(os.close, place)
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
            stack.callback(os.close, folder)
            lock_within(folder, _LOCK_WAIT_S)
        yield


def _write(path: Path, text: str) -> None:
    try:
        _replace(path, text)
    except UntrustedPath as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}; choose another file with --config"
        ) from None


def remove_profile(path: Path, name: str) -> None:
    """Remove the profile ``[profiles.NAME]``; everything else in the file stays as it is.

    :raises SettingsError: the file cannot be read or written, and is unchanged.
    """
    import tomlkit

    with _edited_alone(path, make=False):
        document = _parse(_text_of(path), path)
        wanted = {one: entry for one, entry in _profiles(document, path).items() if one != name}
        profiles = document.get("profiles")
        if isinstance(profiles, MutableMapping) and name in profiles:
            del profiles[name]
        text = tomlkit.dumps(document)
        if _profiles(_parse(text, path), path) != wanted:
            raise SettingsError(f"{path} has a form that cannot be edited; edit it by hand")
        _write(path, text)


def read_private(path: Path) -> str:
    """The text of a file that no other user can read or replace, or has created.

    :raises SettingsError: another user can, or has; the message has the command that repairs it.
    :raises OSError, UnicodeDecodeError: the file cannot be read.
    """
    try:
        return decoded(read_secret(path))
    except UntrustedPath as error:
        raise SettingsError(str(error)) from None


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> SettingsError:
    """The error for a file that cannot be read: it says why, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        return SettingsError(f"{path} is not written in UTF-8; save it as UTF-8")
    return SettingsError(f"{path} cannot be read: {error.strerror}; see: ls -l {path}")


def decoded(data: bytes) -> str:
    """The text of a file that any editor has written, without a byte order mark.

    The file is UTF-16 if it begins with the byte order mark of UTF-16, and else UTF-8.

    :raises UnicodeDecodeError: the file is neither.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _parse(text: str, path: Path) -> TOMLDocument:
    import tomlkit  # not at the top: `backlotfs --help` and completion do not need it
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}; correct that line") from None


def _profiles(document: TOMLDocument, path: Path) -> dict[str, Any]:
    profiles = document.unwrap().get("profiles", {})
    if not isinstance(profiles, dict):
        raise SettingsError(
            f"{path} has no [profiles.NAME] table; edit it by hand, or choose another with --config"
        )
    return profiles


def _text_of(path: Path) -> str:
    """The text of the file, even if others can read the file: writing it makes it private."""
    try:
        folder, name = open_place(path, make=False)
    except FileNotFoundError:
        return ""
    except UntrustedPath as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror or type(error).__name__}; "
            "choose another file with --config"
        ) from None
    try:
        return decoded(read_regular(Path(name), folder=folder))
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Write a new file in the same folder, sync it, and rename it over the old one."""
    folder, name = open_place(path, make=True)  # follows a link: its target is replaced
    made = f".{name}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(made, flags, 0o600, dir_fd=folder), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made, dir_fd=folder)
        raise
    finally:
        os.close(folder)
