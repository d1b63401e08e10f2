# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: an emulator, a mount in its own process, and the rule about FUSE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from backlotfs.emulator import EmulatedAsset, Emulator, EmulatorSettings, Library
from tests.support.fuse_presence import OPT_OUT, missing_piece, skipping_is_allowed
from tests.support.inherited_signals import give_children_default_signals
from tests.support.leftovers import clear_dead_mounts
from tests.support.long_runs import runs
from tests.support.mounting import Mount, renew_all

#: Assets in, running emulator out; keywords are fields of `EmulatorSettings`.
Serve = Callable[..., Emulator]
#: An emulator and options of ``backlotfs mount`` in, running mount out.
MountIt = Callable[..., Mount]


# A busy machine makes any example of a property test slow: pytest's own timeout is the limit.
settings.register_profile("backlotfs", deadline=None, max_examples=runs(100))
settings.load_profile("backlotfs")


def pytest_sessionstart(session: pytest.Session) -> None:
    """What a killed run left must not fail this one; cleared once, before any worker starts.

    Nor must the signals that the caller ignores; workers inherit them too, so each restores them.
    """
    give_children_default_signals()
    if not _is_worker(session.config):
        clear_dead_mounts()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers take files that mount, and mostly wait, and files that compute, in turn.

    The first are the longest: they end somewhat before the others, or one would run on alone.
    """
    if not _is_worker(config):
        return
    files = {mounts: dict.fromkeys(_files(items, mounts=mounts)) for mounts in (True, False)}
    share = {
        file: number / len(of_kind) * (0.85 if mounts else 1.0)
        for mounts, of_kind in files.items()
        for number, file in enumerate(of_kind)
    }
    items.sort(key=lambda item: share[item.path])


def _files(items: list[pytest.Item], *, mounts: bool) -> Iterator[Path]:
    for item in items:
        if (item.get_closest_marker("mounted") is not None) is mounts:
            yield item.path


def _is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of several of pytest-xdist, under one that gives them work."""
    return hasattr(config, "workerinput")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A machine that cannot mount fails the mounted tests, so that nobody loses them unawares."""
    renew_all()
    if item.get_closest_marker("mounted") is None:
        return
    missing = missing_piece()
    if missing is not None and skipping_is_allowed():
        pytest.skip(missing)
    if missing is not None:
        pytest.fail(f"{missing}; {OPT_OUT}=1 leaves out the mounted tests", pytrace=False)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts emulators, without a request budget unless one is set; stops them at the end."""
    with ExitStack() as stack:

        def start(*assets: EmulatedAsset, **settings: Any) -> Emulator:
            chosen = EmulatorSettings(**{"rate_limit": None, "cdn": False, **settings})
            return stack.enter_context(Emulator(Library(assets), chosen))

        yield start


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with the marker ``both_bindings`` run on the session and on fusepy."""
    both = metafunc.definition.get_closest_marker("both_bindings") is not None
    if both and "fuse_binding" in metafunc.fixturenames:
        metafunc.parametrize("fuse_binding", ["session", "fusepy"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def fuse_binding(request: pytest.FixtureRequest) -> str:
    """How mounts speak to the kernel."""
    return str(getattr(request, "param", "auto"))


@pytest.fixture
def mounted(tmp_path: Path, fuse_binding: str) -> Iterator[MountIt]:
    """Mounts libraries, each in a folder of its own; afterwards every mount must end cleanly.

    See `Mount.close` for what "cleanly" is, and for how a test expects something else.
    """
    with ExitStack() as stack:

        def start(emulator: Emulator, *options: str, **more: Any) -> Mount:
            folder = tmp_path / f"mount-{len(list(tmp_path.glob('mount-*')))}"
            folder.mkdir(mode=0o700)
            chosen = ("--fuse-binding", fuse_binding, *options)
            return stack.enter_context(Mount(emulator, folder, *chosen, **more))

        yield start
