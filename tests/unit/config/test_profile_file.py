"""A profile is put into the file, and nothing else of it changes."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.config import profile_file
from backlotfs.config.profile_file import has_profile, write_profile
from backlotfs.config.profiles import load_account
from backlotfs.errors import SettingsError

SETTINGS = {"api_url": "https://backlot.example", "api_key": "k", "api_secret": "s"}
EXISTING = """# ours
[profiles.main]
api_url = "https://old.example"  # the old one
api_key = "old"
api_secret = "old"

[profiles.archive] # stays
api_key = "a"
"""


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


@pytest.mark.parametrize("name", ["main", "archive", "new"])
def test_the_other_profiles_stay(tmp_path: Path, name: str) -> None:
    """With their comments; and a file that others could read is closed."""
    path = tmp_path / "config.toml"
    path.write_text(EXISTING)
    path.chmod(0o644)
    before = tomllib.loads(EXISTING)["profiles"]
    assert write(path, name) == {**before, name: SETTINGS}
    assert path.read_text().startswith("# ours\n")
    assert ("# stays" in path.read_text()) is (name != "archive")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ['profiles.main.api_key = "x"\n', "[profiles\n", "profiles = 1\n"])
def test_what_cannot_be_added_to_is_left_alone(tmp_path: Path, text: str) -> None:
    """Another way to write TOML, or none."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        write(path, "main")
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


def test_a_profile_is_found_or_not(tmp_path: Path) -> None:
    """No file has none."""
    path = tmp_path / "config.toml"
    assert not has_profile(path, "main")
    path.write_text(EXISTING)
    assert has_profile(path, "main")
    assert not has_profile(path, "new")


@given(st.text(st.characters(codec="utf-8")))
def test_every_secret_comes_back(secret: str) -> None:
    """Quotes, backslashes, control characters."""
    text = f"value = {profile_file._quoted(secret)}\n"
    assert tomllib.loads(text)["value"] == secret
