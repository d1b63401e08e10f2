# SPDX-License-Identifier: Apache-2.0
"""However the origin stalls, a program has its error when the read's time is spent, not later.

One mount with a short ``--read-timeout``; all stalls are at once, each in a file of its own.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backlotfs.emulator import Emulator, Fault
from tests.conftest import Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

#: The kernel asks again for a page that failed: together they must not take twice as long. Long
#: enough for a busy machine to be seconds late.
TIMEOUT_S = 10.0
TWICE_S = 2 * TIMEOUT_S - 0.1


class Failure(NamedTuple):
    """How a program's reads ended.

    :ivar longest_s: of all of them, those that gave something included.
    """

    errno: int
    longest_s: float


def read_until_error(path: Path, step: int, *, randomly: bool = False) -> Failure:
    """Read on from the start until a read fails; a short one is a failure before that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if randomly:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        offset, longest_s = 0, 0.0
        while True:
            began = time.monotonic()
            try:
                seen = os.pread(descriptor, step, offset)
            except OSError as error:
                return Failure(error.errno or 0, max(longest_s, time.monotonic() - began))
            assert seen, "the end was reached"
            offset += len(seen)
            longest_s = max(longest_s, time.monotonic() - began)
    finally:
        os.close(descriptor)


#: What the origin does to the source, and how the program reads.
STALLS: dict[str, tuple[Fault, Callable[[Path], Failure]]] = {
    "before the head": (Fault.delay(600), lambda path: read_until_error(path, 4096)),
    "at byte 0": (Fault.stall(), lambda path: read_until_error(path, 131_072)),
    "at byte 10 000": (Fault.stall(10_000), lambda path: read_until_error(path, MIB)),
    "at byte 200 000": (Fault.stall(200_000), lambda path: read_until_error(path, 4096)),
    "at byte 300 000, large reads": (
        Fault.stall(300_000), lambda path: read_until_error(path, 4 * MIB)
    ),
    "a trickle": (Fault.trickle(2000), lambda path: read_until_error(path, MIB)),
    "at byte 0, read at random": (
        Fault.stall(), lambda path: read_until_error(path, 5000, randomly=True)
    ),
}  # fmt: skip
FILES = {name: video(f"{number}.mov", 8 * MIB) for number, name in enumerate(STALLS)}
#: Later on in a stream: read-ahead is under way, and what fails first is not what is waited for.
MID = video("mid.mov", 24 * MIB)
#: The host, or the API, asks for a pause of a minute.
PAUSED, UNRENEWED, GOOD = video("paused.mov", MIB), video("unrenewed.mov", MIB), video("good.mov")
ASSETS = [*FILES.values(), MID, PAUSED, UNRENEWED, GOOD]


class Stalled(NamedTuple):
    """The mount, and what came of the reads."""

    emulator: Emulator
    mount: Mount
    failures: dict[str, Failure]


@pytest.fixture(scope="module")
def stalled(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stalled]:
    """Every stall at once."""
    emulator = serve(*ASSETS)
    folder = tmp_path_factory.mktemp("deadlines")
    with Mount(emulator, folder, f"--read-timeout={TIMEOUT_S:g}s") as mount:
        mount.expect_log("ETIMEDOUT")
        for asset in ASSETS:
            mount.file_of(asset).stat()
        for name, (fault, _) in STALLS.items():
            chosen: dict[str, Any] = {"route": "source", "embed_code": FILES[name].embed_code}
            emulator.faults.add(fault, offsets=(0, 1), **chosen)
            # what is asked for further on gives nothing: each answer with bytes is time for a read
            emulator.faults.add(Fault.stall(), offsets=(1, 8 * MIB), **chosen)
        later = (5 * MIB, 24 * MIB)
        emulator.faults.add(Fault.stall(), route="source", embed_code=MID.embed_code, offsets=later)
        with ThreadPoolExecutor(len(STALLS) + 1) as pool:
            started = {
                name: pool.submit(read, mount.file_of(FILES[name]))
                for name, (_, read) in STALLS.items()
            }
            started["later in a stream"] = pool.submit(
                read_until_error, mount.file_of(MID), 131_072
            )
            failures = {name: future.result(60) for name, future in started.items()}
        yield Stalled(emulator, mount, failures)
        emulator.faults.clear()


@pytest.fixture
def fresh(stalled: Stalled, tmp_path: Path) -> Iterator[Mount]:
    """Another mount, of which nothing was read: no file is fetched ahead before it is opened."""
    with Mount(stalled.emulator, tmp_path, f"--read-timeout={TIMEOUT_S:g}s") as mount:
        mount.expect_log("ETIMEDOUT")
        yield mount


@pytest.mark.parametrize("name", few_of([*STALLS, "later in a stream"], "later in a stream"))
def test_a_stalled_read_ends_with_its_deadline(stalled: Stalled, name: str) -> None:
    """ETIMEDOUT after the time that was asked for, for the program too, however it reads."""
    failure = stalled.failures[name]
    assert failure.errno == errno.ETIMEDOUT
    assert failure.longest_s < TWICE_S, stalled.failures


def test_another_file_is_read_meanwhile(stalled: Stalled) -> None:
    """The same host, which serves it as ever."""
    assert_same_bytes(stalled.mount.file_of(GOOD), GOOD)


def test_a_pause_of_a_minute_is_not_begun(stalled: Stalled, fresh: Mount) -> None:
    """429 of the host: ETIMEDOUT for what was asked at once; one line for many reads."""
    emulator, mount = stalled.emulator, fresh
    mount.file_of(PAUSED).stat()
    pause = Fault.status(429, headers={"Retry-After": "60"})
    emulator.faults.add(pause, route="source", embed_code=PAUSED.embed_code)
    for _ in range(10):
        assert read_until_error(mount.file_of(PAUSED), 4096).errno == errno.ETIMEDOUT
    said = [line for line in mount.log_text().splitlines() if PAUSED.embed_code in line]
    assert len(said) == 1
    assert "asks for a pause of 60 s" in said[0]


@pytest.mark.long
def test_a_refusal_of_the_api_is_waited_for_within_the_timeout(
    stalled: Stalled, fresh: Mount
) -> None:
    """A URL has to be renewed, and the API answers 429 for a minute: ETIMEDOUT when time is up."""
    emulator, mount = stalled.emulator, fresh
    mount.file_of(UNRENEWED).stat()
    code = UNRENEWED.embed_code
    mount.expect_log("refuses calls")
    emulator.faults.add(Fault.of("access_denied"), route="source", embed_code=code)
    emulator.faults.add(Fault.rate_limited(60), route="streams", embed_code=code)
    emulator.faults.add(Fault.rate_limited(60), route="source_file_info", embed_code=code)
    failure = read_until_error(mount.file_of(UNRENEWED), 4096)
    assert failure.errno == errno.ETIMEDOUT
    assert failure.longest_s < TWICE_S
    assert mount.log_text().count("(429)") <= 1
