# SPDX-License-Identifier: Apache-2.0
"""A profile is put into the file, and nothing else of it changes."""

from __future__ import annotations

import os
import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.config.profile_file import (
    profile_names,
    read_profiles,
    remove_profile,
    write_profile,
)
from backlotfs.config.profiles import load_account
from backlotfs.errors import SettingsError

SETTINGS = {"api_url": "https://backlot.example", "api_key": "k", "api_secret": "s"}
EXISTING = """# ours
title = "x" # not about profiles

[profiles.main]
api_url = "https://old.example"  # the old one
# by the studio
api_key = "old"
api_secret_file = "/old"

[profiles.archive] # stays
api_key = "a"
"""
REPLACED = EXISTING.replace("https://old.example", SETTINGS["api_url"]).replace(
    'api_key = "old"\napi_secret_file = "/old"', 'api_key = "k"\napi_secret = "s"'
)
ADDED = f"{EXISTING}\n[profiles.new]\n" + "".join(f'{k} = "{v}"\n' for k, v in SETTINGS.items())


def write(path: Path, name: str, **more: str) -> dict[str, object]:
    """Write it; the file's profiles then."""
    write_profile(path, name, {**SETTINGS, **more})
    found: dict[str, object] = tomllib.loads(path.read_text())["profiles"]
    return found


def test_a_new_file_is_ours_alone(tmp_path: Path) -> None:
    """And so is the folder that had to be made; `load_account` takes it."""
    path = tmp_path / "config" / "backlotfs" / "config.toml"
    write(path, "main")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["config.toml"]
    assert load_account({}, config=path, profile="main").api_secret == "s"


@pytest.mark.parametrize(("name", "text"), [("main", REPLACED), ("new", ADDED)])
def test_everything_else_stays(tmp_path: Path, name: str, text: str) -> None:
    """Comments and order included; and the file becomes private if it was not."""
    path = tmp_path / "config.toml"
    path.write_text(EXISTING)
    path.chmod(0o644)
    before = tomllib.loads(EXISTING)["profiles"]
    assert write(path, name) == {**before, name: SETTINGS}
    assert path.read_text() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["main", "new"])
@pytest.mark.parametrize(
    "text",
    [
        'profiles.main.api_key = "x"\n',
        '[profiles]\nmain = {api_key = "x"}\n',
        "[profiles.a]\nx = 1\n[other]\ny = 2\n[profiles.main]\nz = 1",
        '[profiles.main]\r\napi_key = "x"\r\n[[list]]\r\na = 1\r\n',
    ],
)
def test_every_spelling_of_toml_is_edited(tmp_path: Path, text: str, name: str) -> None:
    """Dotted keys, inline tables, tables apart from each other, line ends of Windows."""
    path = tmp_path / "config.toml"
    path.write_text(text, newline="")
    before = tomllib.loads(text)
    assert write(path, name) == {**before["profiles"], name: SETTINGS}
    after = tomllib.loads(path.read_text())
    assert {**after, "profiles": 0} == {**before, "profiles": 0}


@pytest.mark.parametrize(
    "text", ["profiles = {main = {}}\n", "[profiles\n", "profiles = 1\n", "[a]\nb=1\nb=2\n"]
)
def test_a_file_that_cannot_be_edited_stays(tmp_path: Path, text: str) -> None:
    """One that is not valid, and one whose profiles are a single inline table."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        write(path, "new")
    assert path.read_text() == text


def test_a_write_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the old file is whole, no half of a secret lies beside it."""
    path = tmp_path / "config.toml"
    path.write_text(EXISTING)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        write(path, "main")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [
        ("config.toml", EXISTING)
    ]


def test_names_of_profiles(tmp_path: Path) -> None:
    """A missing file has none."""
    path = tmp_path / "config.toml"
    assert profile_names(path) == []
    path.write_text(EXISTING)
    assert profile_names(path) == ["archive", "main"]


@given(st.text(st.characters(codec="utf-8")))
def test_every_secret_comes_back(tmp_path_factory: pytest.TempPathFactory, secret: str) -> None:
    """Quotes, backslashes, control characters."""
    path = tmp_path_factory.mktemp("config") / "config.toml"
    assert write(path, "main", api_secret=secret)["main"] == {**SETTINGS, "api_secret": secret}


def test_several_commands_at_once(tmp_path: Path) -> None:
    """Each change of the file is made to the last one."""
    path = tmp_path / "config.toml"
    write_profile(path, "old", {"api_key": "old"})
    with ThreadPoolExecutor(9) as pool:
        jobs = [pool.submit(write_profile, path, f"p{n}", {"api_key": f"k{n}"}) for n in range(8)]
        jobs.append(pool.submit(remove_profile, path, "old"))
    for job in jobs:
        job.result()
    found = read_profiles(path)
    assert found == {f"p{n}": {"api_key": f"k{n}"} for n in range(8)}
