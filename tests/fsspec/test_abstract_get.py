# SPDX-License-Identifier: Apache-2.0
"""The read-only part of fsspec's own tests of file systems: `get`."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from backlotfs.emulator import EmulatedLabel, Emulator
from backlotfs.fsspec import BacklotFileSystem
from tests.fsspec.conftest import MakeFs
from tests.support.made_assets import video

pytestmark = pytest.mark.long  # 45 tests, and all of one method


class Publisher:
    """Puts folders and files into an emulated library, by paths: folders are labels."""

    def __init__(self, emulator: Emulator, fs: BacklotFileSystem) -> None:
        self._emulator = emulator
        self._fs = fs
        self._labels: dict[str, str] = {}
        self._assets: dict[str, str] = {}

    def mkdir(self, path: str, **_: Any) -> None:
        """Make a folder, and those above it."""
        path = path.strip("/")
        if path and path not in self._labels:
            above = posixpath.dirname(path)
            self.mkdir(above)
            label = EmulatedLabel(
                f"{100 + len(self._labels):032d}", posixpath.basename(path), self._labels.get(above)
            )
            self._emulator.library.put_label(label)
            self._labels[path] = label.label_id

    makedirs = mkdir

    def touch(self, path: str) -> None:
        """Make an empty file. Files of one name are one asset, in several folders."""
        self.pipe(path, b"")

    def pipe(self, path: str, value: bytes) -> None:
        """Make a file with these bytes."""
        folder, name = posixpath.split(path)
        self.mkdir(folder)
        code, label = self._assets.get(name), self._labels[folder.strip("/")]
        if code is None:
            asset = video(name, value, label_ids=(label,))
            self._assets[name] = self._emulator.library.add(asset).embed_code
        else:
            labels = self._emulator.library.get(code).label_ids
            self._emulator.library.edit(code, label_ids=(*labels, label))
        self._fs.invalidate_cache()


class Scenarios(AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    """The folders that the tests read, in a library."""

    @pytest.fixture
    def fs(self, make_fs: MakeFs) -> BacklotFileSystem:
        return make_fs(layout="labels")

    @pytest.fixture
    def fs_path(self) -> str:
        return ""

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: Path) -> str:
        return str(tmp_path / "local")

    @pytest.fixture
    def publisher(self, emulator: Emulator, fs: BacklotFileSystem) -> Publisher:
        return Publisher(emulator, fs)

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, publisher: Publisher) -> Any:
        return self._bulk_operations_scenario_0(publisher, posixpath.join, "/")

    @pytest.fixture
    def fs_glob_edge_cases_files(self, publisher: Publisher) -> Any:
        return self._glob_edge_cases_files(publisher, posixpath.join, "/")

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, publisher: Publisher) -> Any:
        return self._dir_and_file_with_same_name_prefix(publisher, posixpath.join, "/")

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, publisher: Publisher) -> Any:
        return self._10_files_with_hashed_names(publisher, posixpath.join, "/")


class _WritableHere:
    """A file system whose folders and files a test makes by itself."""

    def __init__(self, fs: BacklotFileSystem, publisher: Publisher) -> None:
        self._fs = fs
        self.mkdir = publisher.mkdir
        self.touch = publisher.touch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)


class TestGet(Scenarios, AbstractGetTests):  # type: ignore[misc]  # fsspec has no types
    """fsspec's tests."""

    def test_get_directory_recursive(
        self,
        fs: BacklotFileSystem,
        publisher: Publisher,
        fs_join: Any,
        fs_path: str,
        local_fs: LocalFileSystem,
        local_join: Any,
        local_target: str,
    ) -> None:
        """It makes what it reads by itself."""
        writable = _WritableHere(fs, publisher)
        super().test_get_directory_recursive(
            writable, fs_join, fs_path, local_fs, local_join, local_target
        )
