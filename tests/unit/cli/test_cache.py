# SPDX-License-Identifier: Apache-2.0
"""``cache list`` and ``cache clear``: what they name, lock, change and leave."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.cache.disk.locked_directory import LockedDirectory
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.cli.cache import cache
from backlotfs.concurrency.clock import SystemClock
from backlotfs.concurrency.private_sqlite import PrivateSqliteFile
from backlotfs.errors import CommandFailed, SettingsError
from backlotfs.source.saved_urls import SavedUrls

CACHE = import_module("backlotfs.cli.cache")
ONE = LibraryIdentity.of("http://one.example", "account")
OTHER = LibraryIdentity.of("http://other.example", "account")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with what mounts of two libraries left."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for library in (ONE, OTHER):
        CatalogDb(tmp_path / "cache", library, SystemClock()).close()
        SavedUrls(database(tmp_path / "cache", "urls", library), SystemClock()).close()
        LockedDirectory(tmp_path / "cache" / "blocks" / library.digest).close()
    return tmp_path / "cache"


def database(folder: Path, part: str, library: LibraryIdentity) -> Path:
    """The path of a database of a library."""
    return folder / part / f"{library.digest}.sqlite3"


def run(folder: Path, *arguments: str) -> Result:
    """A command of the group."""
    return CliRunner().invoke(cache, [*arguments, "--cache-dir", str(folder)])


def write_profiles(folder: Path, **addresses: str) -> None:
    """A profile file with these profiles of the same account, for the commands."""
    path = folder.parent / "backlotfs" / "config.toml"
    path.parent.mkdir(mode=0o700)
    path.write_text(
        "".join(
            f'[profiles.{name}]\napi_url = "{address}"\napi_key = "account.key"\n'
            for name, address in addresses.items()
        )
    )
    path.chmod(0o600)


def kept(folder: Path) -> dict[Path, tuple[int, int]]:
    """The files but for locks and tags, with their sizes and times."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name not in ("lock", "CACHEDIR.TAG")
    }


def use(stack: ExitStack, folder: Path, part: str) -> None:
    """Use a part of `ONE` as a mount does, until the stack ends."""
    if part == "blocks":
        stack.callback(LockedDirectory(folder / part / ONE.digest).close)
        return
    file = PrivateSqliteFile(database(folder, part, ONE), SystemClock(), timeout_s=0)
    file.acquire()
    stack.callback(file.release)
    assert file.share()


def test_the_list_for_scripts(folder: Path) -> None:
    """One object; an id in it is one for `clear`."""
    write_profiles(folder, main="http://one.example", again="http://one.example")
    database(folder, "catalog", OTHER).unlink()
    answer = json.loads(run(folder, "list", "--json").stdout)
    assert answer["folder"] == str(folder)
    by_id = {one["id"]: one for one in answer["libraries"]}
    one, other = by_id[ONE.digest[:8]], by_id[OTHER.digest[:8]]
    assert (one["profiles"], one["address"]) == (["again", "main"], "http://one.example")
    assert (other["profiles"], other["address"]) == ([], None)
    assert one["size_bytes"] >= other["size_bytes"] >= 0
    assert 0 < one["used_at"] <= time.time() + 1
    assert run(folder, "clear", one["id"], "--yes").exit_code == 0
    left = json.loads(run(folder, "list", "--json").stdout)["libraries"]
    assert [one["id"] for one in left] == [OTHER.digest[:8]]


@pytest.mark.parametrize("part", ["catalog", "urls", "blocks"])
def test_a_part_in_use_keeps_its_library(folder: Path, part: str) -> None:
    """The whole of it, and no other; named, it refuses, and nothing of the others is deleted."""
    before = kept(folder)
    with ExitStack() as stack:
        use(stack, folder, part)
        refused = run(folder, "clear", OTHER.digest, ONE.digest, "--yes")
        assert isinstance(refused.exception, CommandFailed)
        assert str(refused.exception) == f"library {ONE.digest[:8]} is in use; unmount it first"
        assert kept(folder) == before
        done = run(folder, "clear", "--all", "--yes")
    assert f"library {ONE.digest[:8]} is in use and stays" in done.stdout
    assert kept(folder) == {
        path: state for path, state in before.items() if ONE.digest in str(path)
    }


def test_a_mount_that_starts_during_the_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its locks, and keeps its files."""
    before = kept(folder)
    with ExitStack() as stack:

        def answer(_question: str) -> None:
            for part in ("catalog", "urls", "blocks"):
                use(stack, folder, part)

        monkeypatch.setattr(CACHE, "confirm", answer)
        assert "is in use" in str(run(folder, "clear", ONE.digest).exception)
    assert kept(folder) == before


@pytest.mark.parametrize(
    "names", [(), ("",), (ONE.digest[:7],), ("0" * 24,), ("other",), ("--all", ONE.digest)]
)
def test_what_names_no_library(folder: Path, names: tuple[str, ...]) -> None:
    """Nor may a library be named beside --all: nothing is deleted."""
    before = kept(folder)
    assert isinstance(run(folder, "clear", "--yes", *names).exception, SettingsError)
    assert kept(folder) == before


def test_a_library_that_is_named_twice(folder: Path) -> None:
    """It is deleted once."""
    write_profiles(folder, studio=ONE.api_url)
    done = run(folder, "clear", ONE.digest[:8], ONE.digest, "studio", "--yes")
    assert done.exit_code == 0, done.output
    assert {path.name[:24] for path in kept(folder)} == {OTHER.digest}


@pytest.mark.parametrize("name", ["first", "second"])
def test_two_profiles_of_one_library(folder: Path, name: str) -> None:
    """Each names it, also beside a profile whose address is none."""
    write_profiles(folder, broken="http://[", first=ONE.api_url, second=ONE.api_url)
    assert "  first,second  " in run(folder, "list").stdout
    assert run(folder, "clear", name, "--yes").exit_code == 0
    assert {path.name[:24] for path in kept(folder)} == {OTHER.digest}


def test_profiles_of_another_file(folder: Path) -> None:
    """As a mount takes them by ``--config``: also where the user's own file has other names."""
    write_profiles(folder, own=OTHER.api_url)
    other = folder.parent / "other.toml"
    other.write_text(f'[profiles.ours]\napi_url = "{ONE.api_url}"\napi_key = "account.key"\n')
    other.chmod(0o600)
    listed = run(folder, "list", "--config", str(other)).stdout
    assert "  ours  " in listed
    assert "  own  " not in listed
    refused = run(folder, "clear", "own", "--yes", "--config", str(other))
    assert isinstance(refused.exception, SettingsError)
    done = run(folder, "clear", "ours", "--yes", "--config", str(other))
    assert done.exit_code == 0, done.output
    assert {path.name[:24] for path in kept(folder)} == {OTHER.digest}


@pytest.mark.parametrize("command", [["list"], ["clear", "ours", "--yes"]], ids=["list", "clear"])
@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [("", 0o644, "chmod 600"), ("[profiles", 0o600, "other.toml"), (None, 0, "does not exist")],
    ids=["readable by others", "malformed", "absent"],
)
def test_a_file_that_was_named_and_cannot_be_used(
    folder: Path, command: list[str], text: str | None, mode: int, why: str
) -> None:
    """It is said, and not that the cache has no such library."""
    other = folder.parent / "other.toml"
    if text is not None:
        other.write_text(text)
        other.chmod(mode)
    done = run(folder, *command, "--config", str(other))
    assert done.exit_code != 0
    assert why in f"{done.output} {done.exception}"
    assert "in the cache is named" not in str(done.exception)


def test_files_of_others_are_not_listed(folder: Path) -> None:
    """A name of 24 characters need not be a digest."""
    stray = folder / "catalog" / f"{'notes-of-somebody-else.':_<24}.txt"
    stray.write_text("mine")
    other = folder / "blocks" / ("G" * 24)
    other.mkdir()
    assert len(run(folder, "list").stdout.splitlines()) == 3
    assert run(folder, "clear", "--all", "--yes").exit_code == 0
    assert stray.exists()
    assert other.exists()


@pytest.mark.parametrize("in_use", [False, True])
def test_a_list_changes_nothing(folder: Path, in_use: bool) -> None:
    """Nor does it hinder a mount that starts; what it reports is the same again."""
    with ExitStack() as stack:
        if in_use:
            db = CatalogDb(folder, ONE, SystemClock())
            stack.callback(db.close)
        before = kept(folder)
        first = run(folder, "list")
        assert ONE.api_url in first.stdout
        assert OTHER.api_url in first.stdout
        assert set(kept(folder)) == set(before)
        assert run(folder, "list").stdout == first.stdout


def test_the_last_use_is_not_that_of_the_list(folder: Path) -> None:
    """Reading the address of a catalog that a mount uses is no use of it."""
    db = CatalogDb(folder, ONE, SystemClock())
    try:
        for path in folder.rglob("*"):
            os.utime(path, (0, 86400 * 400))
        for _ in range(2):
            (line,) = (one for one in run(folder, "list").stdout.splitlines() if ONE.api_url in one)
            assert "1971-02-0" in line
    finally:
        db.close()
