# SPDX-License-Identifier: Apache-2.0
"""Films on a mount, for programs that need a screen, a server or a player.

A test here fails, in a sentence, where a program that it names is missing.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.film_mount import FilmMount, film_mount, make_films
from tests.support.programs import find_program


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for what the marker ``desktop`` names."""
    names = [str(name) for marker in item.iter_markers("desktop") for name in marker.args]
    missing = [name for name in names if find_program(name) is None]
    if missing:
        pytest.fail(
            f"this test needs {' and '.join(missing)}, which make test-desktop installs",
            pytrace=False,
        )


@pytest.fixture(scope="session")
def film_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The films, as files: name to path."""
    return make_films(tmp_path_factory.mktemp("originals"))


@pytest.fixture(scope="module")
def films(serve: Serve, film_files: dict[str, Path]) -> Iterator[FilmMount]:
    """The films on a mount, shared by the tests of a module."""
    with _for_everybody(serve, film_files) as mount:
        yield mount


@pytest.fixture
def fresh_films(serve: Serve, film_files: dict[str, Path]) -> Iterator[FilmMount]:
    """The same for one test: nothing of it has been fetched."""
    with _for_everybody(serve, film_files) as mount:
        yield mount


@contextlib.contextmanager
def _for_everybody(serve: Serve, originals: dict[str, Path]) -> Iterator[FilmMount]:
    """Where root mounts, others see it too: some programs refuse to run as root."""
    options = ("--allow-other",) if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(prefix="backlotfs-films-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # pytest's own folders are private
        with film_mount(serve, originals, folder, *options) as mount:
            yield mount
