"""Writing a profile into the profile file: private, whole or not at all, the rest untouched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from backlotfs.errors import SettingsError
from backlotfs.trusted_paths import UntrustedPath, open_place, read_regular

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_HEADER = re.compile(r"^[ \t]*\[", re.M)


def is_profile_name(name: str) -> bool:
    """Whether it can stand in a table's header, and in a mount's source, as it is."""
    return bool(_NAME.match(name))


def has_profile(path: Path, name: str) -> bool:
    """Whether the file is there and has this profile. :raises SettingsError: it is not ours."""
    return name in _profiles(_text_of(path), path)


def profile_names(path: Path) -> list[str]:
    """Names of its profiles, sorted. :raises SettingsError: it cannot be read, or is not TOML."""
    return sorted(_profiles(_text_of(path), path))


def write_profile(path: Path, name: str, settings: Mapping[str, str]) -> None:
    """Put ``[profiles.NAME]`` into the file, in the place of one of that name; others stay.

    The file is made 0600, and its folder, if need be, 0700.

    :raises SettingsError: it cannot be done; nothing was changed.
    """
    old = _text_of(path)
    before = _profiles(old, path)
    kept = _without(old, name)
    table = f"[profiles.{name}]\n" + "".join(
        f"{key} = {_quoted(value)}\n" for key, value in settings.items()
    )
    text = f"{kept.rstrip()}\n\n{table}" if kept.strip() else table
    if _profiles(text, path) != {**before, name: dict(settings)}:
        raise SettingsError(f"{path} is written in a way that cannot be added to; edit it by hand")
    try:
        _replace(path, text)
    except UntrustedPath as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}; name another with --config"
        ) from None


def _replace(path: Path, text: str) -> None:
    folder, name = open_place(path, make=True)  # a link stays one
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


def _text_of(path: Path) -> str:
    """What is there, also where others can read it: `write_profile` closes it."""
    try:
        folder, name = open_place(path, make=False)
    except FileNotFoundError:
        return ""
    except UntrustedPath as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {type(error).__name__}") from None
    try:
        return read_regular(Path(name), folder=folder).decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {type(error).__name__}") from None
    finally:
        os.close(folder)


def _profiles(text: str, path: Path) -> dict[str, object]:
    try:
        profiles = tomllib.loads(text).get("profiles", {})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    if not isinstance(profiles, dict):
        raise SettingsError(f"{path} has no [profiles.NAME] table")
    return profiles


def _without(text: str, name: str) -> str:
    """The text without the lines from this profile's header to the next header."""
    header = re.search(rf"^[ \t]*\[[ \t]*profiles[ \t]*\.[ \t]*{name}[ \t]*\].*$", text, re.M)
    if header is None:
        return text
    following = _HEADER.search(text, header.end())
    return text[: header.start()] + (text[following.start() :] if following else "")


def _quoted(value: str) -> str:
    """A basic string of TOML: JSON's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
