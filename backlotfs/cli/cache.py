"""``backlotfs cache``: what mounts keep on this disk, by library, and how to delete it.

A library has a catalog, blocks and saved URLs in the cache folder, each under the library's digest.
A mount with a disk cache holds a lock on its blocks. A mount without one makes its files again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from backlotfs.api.signing import Credentials
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.cli.confirming import confirm
from backlotfs.config.profile_file import profile_names, read_profile
from backlotfs.config.profiles import config_path
from backlotfs.config.settings import DEFAULT_API_URL, default_cache_dir
from backlotfs.errors import BacklotError, CommandFailed, SettingsError
from backlotfs.log.terminal import in_words, say
from backlotfs.trusted_paths import check_folder

_PARTS = ("catalog", "blocks", "urls")
_ID_CHARACTERS = 8

_cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Cache folder [BACKLOTFS_CACHE_DIR, or backlotfs in your cache folder].",
)


@dataclass(frozen=True, slots=True)
class KeptLibrary:
    """What the cache folder holds of one library.

    :ivar digest: names its files. :ivar paths: its files and folders.
    :ivar size: bytes on the disk. :ivar used_at_s: the last change.
    :ivar address: of its API; empty if its catalog cannot be read.
    """

    digest: str
    paths: tuple[Path, ...]
    size: int
    used_at_s: float
    address: str

    @property
    def short(self) -> str:
        """The beginning of the digest, which names it on the command line."""
        return self.digest[:_ID_CHARACTERS]

    def is_mounted(self) -> bool:
        """Whether a mount with a disk cache uses it."""
        for path in self.paths:
            try:
                with open(path / "lock", "rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except (FileNotFoundError, NotADirectoryError):
                continue
        return False


@click.group()
def cache() -> None:
    """List or clear what mounts keep on this disk."""


@cache.command("list")
@_cache_dir_option
def list_libraries(cache_dir: Path | None) -> None:
    """List the libraries in the cache folder: id, size, last use, profile and address."""
    folder = cache_dir or default_cache_dir(os.environ)
    kept = _kept(folder)
    profiles = _profiles()
    for one in kept:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used_at_s))
        name = profiles.get(one.digest, "-")
        state = "  mounted" if one.is_mounted() else ""
        size = in_words(one.size)
        say(f"{one.short}  {size:>10}  {day}  {name}  {one.address or '(no catalog)'}{state}")
    total = in_words(sum(one.size for one in kept))
    say(
        f"{total} in {folder}; delete with: backlotfs cache clear ID"
        if kept
        else f"{folder}: empty"
    )


@cache.command()
@click.argument("libraries", nargs=-1, metavar="[ID|PROFILE]...")
@click.option("--all", "everything", is_flag=True, help="Clear every library that is not mounted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_cache_dir_option
def clear(libraries: tuple[str, ...], everything: bool, yes: bool, cache_dir: Path | None) -> None:
    """Delete the catalog, blocks, pinned files and saved URLs of libraries from the cache folder.

    A library is named by its id in `backlotfs cache list`, or by a profile. The next mount lists
    the library again and asks for the sizes again, which costs API calls.
    """
    folder = cache_dir or default_cache_dir(os.environ)
    kept = _kept(folder)
    if everything:
        chosen = [one for one in kept if not one.is_mounted()]
    else:
        chosen = [_named(name, kept) for name in libraries]
    if not chosen:
        if everything:
            say("There is nothing to clear.")
            return
        raise SettingsError("name a library (see: backlotfs cache list), or give --all")
    for one in chosen:
        if one.is_mounted():
            raise CommandFailed(f"library {one.short} is mounted; unmount it first")
    size = in_words(sum(one.size for one in chosen))
    if not yes:
        confirm(f"Delete {size} of {len(chosen)} libraries, pinned files too?")
    for one in chosen:
        for path in one.paths:
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise CommandFailed(f"{path} cannot be deleted: {error.strerror}") from None
    say(f"Deleted {size}.")


def _named(name: str, kept: list[KeptLibrary]) -> KeptLibrary:
    profiles = _profiles()
    found = [one for one in kept if one.digest.startswith(name) or profiles.get(one.digest) == name]
    if len(found) != 1:
        many = "more than one library" if found else "no library"
        raise SettingsError(f"{many} in the cache is named {name!r}; see: backlotfs cache list")
    return found[0]


def _kept(folder: Path) -> list[KeptLibrary]:
    """The libraries in a cache folder, the one that was used last first.

    :raises CommandFailed: it cannot be read.
    """
    paths: dict[str, list[Path]] = {}
    try:
        check_folder(folder)
        for part in _PARTS:
            with contextlib.suppress(FileNotFoundError):
                for path in (folder / part).iterdir():
                    digest = path.name.partition(".")[0]
                    if len(digest) == 24:
                        paths.setdefault(digest, []).append(path)
        libraries = [_library(digest, found) for digest, found in paths.items()]
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandFailed(f"the cache folder {folder} cannot be read: {why}") from None
    return sorted(libraries, key=lambda one: -one.used_at_s)


def _library(digest: str, paths: list[Path]) -> KeptLibrary:
    states = [status for path in paths for status in _states(path)]
    return KeptLibrary(
        digest,
        tuple(paths),
        sum(status.st_blocks * 512 for status in states),
        max((status.st_mtime for status in states), default=0.0),
        next((found for path in paths if (found := _address(path))), ""),
    )


def _states(path: Path) -> Iterator[os.stat_result]:
    with contextlib.suppress(FileNotFoundError):
        yield path.stat(follow_symlinks=False)
        if path.is_dir() and not path.is_symlink():
            for inner in path.iterdir():
                yield from _states(inner)


def _address(path: Path) -> str:
    """The address of the API in a catalog; empty if the path is none, or cannot be read."""
    if path.parent.name != "catalog" or path.suffix != ".sqlite3":
        return ""
    with (
        contextlib.suppress(sqlite3.Error, ValueError),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db,
    ):
        return str(db.execute("SELECT api_url FROM library").fetchone()[0])
    return ""


def _profiles() -> dict[str, str]:
    """The names of profiles by the digest of their library; none if they cannot be read."""
    names: dict[str, str] = {}
    with contextlib.suppress(BacklotError):
        path = config_path()
        for name in profile_names(path):
            entry = read_profile(path, name)
            account = Credentials(str(entry.get("api_key") or "-"), "-").account
            digest = LibraryIdentity.of(str(entry.get("api_url", DEFAULT_API_URL)), account).digest
            names[digest] = f"{names[digest]},{name}" if digest in names else name
    return names
