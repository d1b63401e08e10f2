# SPDX-License-Identifier: Apache-2.0
"""A library for file systems of fsspec, and its libraries closed after each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from backlotfs.emulator import EmulatedLabel, Emulator, EmulatorSettings, Library
from backlotfs.fsspec import BacklotFileSystem
from backlotfs.fsspec.libraries import close_libraries
from tests.support.made_assets import KIB, MIB, video

#: Makes a file system of the emulator's library with these options.
MakeFs = Callable[..., BacklotFileSystem]

NEWS, SPORT = EmulatedLabel("0" * 31 + "1", "News"), EmulatedLabel("0" * 31 + "2", "Sport")
CLIP = video("clip.mov", 3 * MIB + 17)
FILM = video("film.mov", 20 * MIB, label_ids=(NEWS.label_id,))
NOTE = video("note [1].txt", b"first line\nsecond line\nthird", label_ids=(NEWS.label_id,))
SMALL = video("small.bin", 5 * KIB, label_ids=(SPORT.label_id,))


@pytest.fixture(autouse=True)
def _of_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing in the environment names a library; what a test opens is closed."""
    for name in list(os.environ):
        if name.startswith("BACKLOT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    BacklotFileSystem.clear_instance_cache()
    yield
    close_libraries()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Four files, three of them in two labels."""
    settings = EmulatorSettings(rate_limit=None, cdn=False)
    with Emulator(Library([CLIP, FILM, NOTE, SMALL], [NEWS, SPORT]), settings) as running:
        yield running


@pytest.fixture
def profile(emulator: Emulator, tmp_path: Path) -> Path:
    """The default profile file, with the emulator's library as ``main``."""
    path = tmp_path / "config" / "backlotfs" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(
        f'[profiles.main]\napi_url = "{emulator.api_url}"\napi_key = "{emulator.api_key}"\n'
        f'api_secret = "{emulator.api_secret}"\noptions = "sidecars"\n'
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def make_fs(emulator: Emulator) -> MakeFs:
    """See `MakeFs`. Options override the account."""

    def make(**options: Any) -> BacklotFileSystem:
        account = {
            "api_url": emulator.api_url,
            "api_key": emulator.api_key,
            "api_secret": emulator.api_secret,
        }
        found = fsspec.filesystem("backlot", **account | options)
        assert isinstance(found, BacklotFileSystem)
        return found

    return make


@pytest.fixture
def fs(make_fs: MakeFs) -> BacklotFileSystem:
    """A file system with folders of labels."""
    return make_fs(layout="labels")
