"""Films on a mount, for programs that need a screen, a server or a player.

A test here fails, in a sentence, where a program that it names is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Serve
from tests.support.film_mount import FilmMount, film_mount
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


@pytest.fixture(scope="module")
def films(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilmMount]:
    """A mounted library of films, shared by the tests of a module."""
    with film_mount(serve, tmp_path_factory.mktemp("films")) as mount:
        yield mount
