# SPDX-License-Identifier: Apache-2.0
"""``backlotfs cache``: what mounts keep on this disk, by library, and how to delete it.

A library has a catalog, saved URLs and blocks in the cache folder, each under the library's digest.
A process that uses one of these three has locked it, so `clear` locks all three before it deletes a
file. `clear` keeps the empty lock files of the catalog and of the URLs. A mount that starts may be
waiting for such a file: if the file were deleted, the mount would hold a lock that no other process
can see. `list` takes no lock, and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from backlotfs.api.signing import Credentials
from backlotfs.cache.disk.locked_directory import LockedDirectory
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.cli.confirming import confirm
from backlotfs.concurrency.clock import SystemClock
from backlotfs.concurrency.private_sqlite import PrivateSqliteFile
from backlotfs.config.profile_file import check_profile_file, profile_names, read_profile
from backlotfs.config.profiles import config_path
from backlotfs.config.settings import DEFAULT_API_URL, default_cache_dir
from backlotfs.errors import BacklotError, CacheInUse, CommandFailed, SettingsError
from backlotfs.log.terminal import counted, in_words, say, say_json
from backlotfs.trusted_paths import check_folder

_DATABASES = ("catalog", "urls")
_BLOCKS = "blocks"
_DIGEST = re.compile("[0-9a-f]{24}")
_ID_CHARACTERS = 8

_cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Cache folder [BACKLOTFS_CACHE_DIR, or backlotfs in your cache folder].",
)
_config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Profile file whose names are used [config.toml in your configuration folder].",
)


@dataclass(frozen=True, slots=True)
class KeptLibrary:
    """What the cache folder holds of one library.

    :ivar digest: the beginning of the names of its files. :ivar size: bytes on the disk.
    :ivar used_at_s: the time of the last change of a file.
    :ivar address: the address of its API; empty if its catalog cannot be read.
    """

    digest: str
    size: int
    used_at_s: float
    address: str

    @property
    def short(self) -> str:
        """The beginning of the digest: the id of the library on the command line."""
        return self.digest[:_ID_CHARACTERS]


@click.group()
def cache() -> None:
    """List or clear what mounts keep on this disk."""


@cache.command("list")
@_cache_dir_option
@_config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_libraries(cache_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List the libraries in the cache folder: id, size, last use, profile and address."""
    folder = cache_dir or default_cache_dir(os.environ)
    kept = _kept(folder)
    profiles = _profiles(config)
    if as_json:
        libraries = [
            {
                "id": one.short,
                "size_bytes": one.size,
                "used_at": one.used_at_s,
                "profiles": profiles.get(one.digest, []),
                "address": one.address or None,
            }
            for one in kept
        ]
        say_json({"folder": str(folder), "libraries": libraries})
        return
    for one in kept:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used_at_s))
        name = ",".join(profiles.get(one.digest, ["-"]))
        size = in_words(one.size)
        say(f"{one.short}  {size:>10}  {day}  {name}  {one.address or '(no catalog)'}")
    total = in_words(sum(one.size for one in kept))
    say(
        f"{total} in {folder}; delete with: backlotfs cache clear ID"
        if kept
        else f"{folder}: empty"
    )


@cache.command()
@click.argument("libraries", nargs=-1, metavar="[ID|PROFILE]...")
@click.option("--all", "everything", is_flag=True, help="Clear every library that is not in use.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_cache_dir_option
@_config_option
def clear(
    libraries: tuple[str, ...],
    everything: bool,
    yes: bool,
    cache_dir: Path | None,
    config: Path | None,
) -> None:
    """Delete the catalog, blocks, pinned files and saved URLs of libraries from the cache folder.

    A library is named by its id in `backlotfs cache list`, or by a profile. The next mount lists
    the library again and asks for the sizes again, which costs API calls.
    """
    if everything and libraries:
        raise SettingsError("name libraries, or give --all, but not both")
    if not everything and not libraries:
        raise SettingsError("name a library (see: backlotfs cache list), or give --all")
    folder = cache_dir or default_cache_dir(os.environ)
    kept = _kept(folder)
    chosen = kept if everything else _named(libraries, kept, config)
    if not chosen:
        say("There is nothing to clear.")
        return
    if not yes:
        size = in_words(sum(one.size for one in chosen))
        confirm(
            f"Delete {size} of {counted(len(chosen), 'library', 'libraries')}, pinned files too?"
        )
    # after the question: until then a mount can start, and its library is not deleted
    with contextlib.ExitStack() as locks:
        locked = []
        for one in chosen:
            lock = _lock(folder, one)
            if lock is not None:
                locks.enter_context(lock)
                locked.append(one)
            elif everything:
                say(f"library {one.short} is in use and stays")
            else:
                raise CommandFailed(f"library {one.short} is in use; unmount it first")
        paths = _paths(folder)
        for one in locked:
            for path in paths.get(one.digest, []):
                _delete(path)
    say(f"Deleted {in_words(sum(one.size for one in locked))}.")


def _named(
    names: tuple[str, ...], kept: list[KeptLibrary], config: Path | None
) -> list[KeptLibrary]:
    """The libraries that are named by ids, or by profiles of this file, each once."""
    profiles = _profiles(config)
    chosen: dict[str, KeptLibrary] = {}
    for name in names:
        is_id = len(name) >= _ID_CHARACTERS
        found = [
            one
            for one in kept
            if (is_id and one.digest.startswith(name)) or name in profiles.get(one.digest, [])
        ]
        if len(found) != 1:
            many = "more than one library" if found else "no library"
            raise SettingsError(f"{many} in the cache is named {name!r}; see: backlotfs cache list")
        chosen[found[0].digest] = found[0]
    return list(chosen.values())


def _lock(folder: Path, library: KeptLibrary) -> contextlib.ExitStack | None:
    """Lock a library against mounts and commands, also parts that do not exist yet.

    :returns: what ends the locks; None if the library is in use.
    :raises CommandFailed, CacheUnusable: the library cannot be locked.
    """
    try:
        with contextlib.ExitStack() as locks:
            for part in _DATABASES:
                path = folder / part / f"{library.digest}.sqlite3"
                file = PrivateSqliteFile(path, SystemClock(), timeout_s=0)
                alone = file.acquire()
                locks.callback(file.release)
                if not alone:
                    return None
            locks.callback(LockedDirectory(folder / _BLOCKS / library.digest).close)
            return locks.pop_all()
    except TimeoutError:  # a mount or a command that is starting
        return None
    except CacheInUse:
        return None
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandFailed(f"library {library.short} cannot be locked: {why}") from None


def _delete(path: Path) -> None:
    """Delete a file, or a folder with all its files, the lock file last.

    :raises CommandFailed: the path cannot be deleted.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            for inner in sorted(path.iterdir(), key=lambda one: one.name == "lock"):
                _delete(inner)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be deleted: {error.strerror}") from None


def _kept(folder: Path) -> list[KeptLibrary]:
    """The libraries in a cache folder, the most recently used one first.

    :raises CommandFailed: the folder cannot be read.
    """
    libraries = [_library(digest, paths) for digest, paths in _paths(folder).items()]
    return sorted(libraries, key=lambda one: -one.used_at_s)


def _paths(folder: Path) -> dict[str, list[Path]]:
    """The files and folders of each digest, without lock files.

    :raises CommandFailed: the folder cannot be read.
    """
    paths: dict[str, list[Path]] = {}
    try:
        check_folder(folder)
        for part in (*_DATABASES, _BLOCKS):
            with contextlib.suppress(FileNotFoundError):
                for path in (folder / part).iterdir():
                    digest = path.name.partition(".")[0]
                    if _DIGEST.fullmatch(digest) and path.suffix != ".lock":
                        paths.setdefault(digest, []).append(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandFailed(f"the cache folder {folder} cannot be read: {why}") from None
    return paths


def _library(digest: str, paths: list[Path]) -> KeptLibrary:
    states = {path: list(_states(path)) for path in paths}
    changes = [
        status.st_mtime
        for path, found in states.items()
        if not path.name.endswith("-shm")  # `_address` changes this file when it reads the catalog
        for status in found
    ]
    return KeptLibrary(
        digest,
        sum(status.st_blocks * 512 for found in states.values() for status in found),
        max(changes, default=0.0),
        next((found for path in paths if (found := _address(path))), ""),
    )


def _states(path: Path) -> Iterator[os.stat_result]:
    """The status of a path and of all paths below it, as far as they can be read."""
    with contextlib.suppress(OSError):
        yield path.stat(follow_symlinks=False)
        if path.is_dir() and not path.is_symlink():
            for inner in path.iterdir():
                yield from _states(inner)


def _address(path: Path) -> str:
    """The address of the API in a catalog; empty if the path is no catalog, or cannot be read."""
    if path.parent.name != "catalog" or path.suffix != ".sqlite3":
        return ""
    # without `immutable`, SQLite would create the files of the log that are missing
    has_log = all(os.path.lexists(f"{path}{suffix}") for suffix in ("-wal", "-shm"))
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if has_log else '&immutable=1'}"
    with (
        contextlib.suppress(sqlite3.Error, ValueError),
        contextlib.closing(sqlite3.connect(uri, uri=True)) as db,
    ):
        return str(db.execute("SELECT api_url FROM library").fetchone()[0])
    return ""


def _profiles(config: Path | None) -> dict[str, list[str]]:
    """The names of profiles, by the digest of their library. Unusable profiles are left out.

    :raises SettingsError: the file ``config`` cannot be read.
    """
    names: dict[str, list[str]] = {}
    path = config or config_path()
    if config is not None:
        check_profile_file(config)
    with contextlib.suppress(*(() if config else (BacklotError,))):
        for name in profile_names(path):
            with contextlib.suppress(BacklotError, ValueError):
                _, entry = read_profile(path, name)
                account = Credentials(str(entry.get("api_key") or "-"), "-").account
                url = str(entry.get("api_url", DEFAULT_API_URL))
                names.setdefault(LibraryIdentity.of(url, account).digest, []).append(name)
    return names
