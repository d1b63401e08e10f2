# SPDX-License-Identifier: Apache-2.0
"""File systems and open files in other processes and threads, as workers of a `DataLoader` are."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.fsspec.conftest import CLIP, FILM
from tests.support.commands import ROOT
from tests.support.expected_bytes import origin_bytes


class Clips:
    """A data set in the form of ``torch.utils.data.Dataset``: parts of a film."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self.file = fs.open("/film.mov")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> tuple[int, bytes, bytes]:
        self.file.seek(number * 1000)
        data: bytes = self.file.read(1000)
        return os.getpid(), data, self.fs.cat_file("/clip.mov", number, number + 10)


def _get(clips: Clips, numbers: list[int], answers: Any) -> None:
    answers.put([clips[number] for number in numbers])


def _assert_read_by(clips: Clips, method: str) -> None:
    """Two processes read, each a half, and this one goes on."""
    context: Any = multiprocessing.get_context(method)
    answers: Any = context.Queue()
    halves = [list(range(0, 8, 2)), list(range(1, 8, 2))]
    workers = [context.Process(target=_get, args=(clips, half, answers)) for half in halves]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=100) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({pid for part in found for pid, _, _ in part} | {os.getpid()}) == 3
    for part in found:
        numbers = halves[0] if part[0][1] == origin_bytes(FILM, 0, 1000) else halves[1]
        assert [one[1:] for one in part] == [
            (origin_bytes(FILM, number * 1000, 1000), origin_bytes(CLIP, number, 10))
            for number in numbers
        ]
    assert clips[3][1] == origin_bytes(FILM, 3000, 1000)


def read_in_forked_processes() -> None:
    """A library that is open, and a file of it, are used in processes that are forked."""
    clips = Clips(fsspec.filesystem("backlot", profile="main"))
    assert clips[0][1] == origin_bytes(FILM, 0, 1000)
    _assert_read_by(clips, "fork")


def test_forked_workers(profile: Path) -> None:
    """From a small process: the system may refuse to fork one that has run many tests."""
    module, function = read_in_forked_processes.__module__, read_in_forked_processes.__name__
    program = f"import {module}; {module}.{function}()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_spawned_workers(profile: Path) -> None:
    """They are pickled."""
    clips = Clips(fsspec.filesystem("backlot", profile="main"))
    assert clips[0][1] == origin_bytes(FILM, 0, 1000)
    _assert_read_by(clips, "spawn")


def test_threads(profile: Path) -> None:
    """A file system for each thread, one library."""

    def read(number: int) -> tuple[int, bytes]:
        fs = fsspec.filesystem("backlot", profile="main")
        return id(fs.library), fs.cat_file("/film.mov", number, number + 100_000)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(8)))
    assert len({library for library, _ in found}) == 1
    assert [data for _, data in found] == [origin_bytes(FILM, at, 100_000) for at in range(8)]
