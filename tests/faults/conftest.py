# SPDX-License-Identifier: Apache-2.0
"""The stack without a mount, and the guard: no warning in its log unless a test expects one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from backlotfs.emulator import Emulator
from tests.support.unmounted_library import UnmountedLibrary

#: An emulator in, its library through the whole stack out; keywords as `UnmountedLibrary` has.
#: Its line has a limit, far off: nothing is hedged on a busy machine, where GETs are counted.
Unmounted = Callable[..., UnmountedLibrary]


@pytest.fixture
def unmounted() -> Iterator[Unmounted]:
    """Builds stacks and closes them at the end."""
    with ExitStack() as resources:

        def build(emulator: Emulator, **more: Any) -> UnmountedLibrary:
            more = {"bandwidth_bytes_s": 10e9, **more}
            return resources.enter_context(closing(UnmountedLibrary(emulator, **more)))

        yield build


@pytest.fixture(autouse=True)
def expected_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Texts that may stand in warnings; a warning without any of them fails the test."""
    expected: list[str] = []
    yield expected
    loud = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.levelno >= logging.WARNING
        and not any(text in record.getMessage() for text in expected)
    ]
    assert not loud, loud
