# SPDX-License-Identifier: Apache-2.0
"""A system call of an export, chosen by its number, at which something else happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

#: Every call by which an export or verification looks at files or changes them. Not `close`: a
#: process that is killed has its descriptors closed.
CALLS = (
    "access", "fsync", "fstat", "ftruncate", "link", "mkdir", "open", "posix_fadvise", "preadv",
    "rename", "rmdir", "stat", "unlink", "utime", "write",
)  # fmt: skip  # a list


class Killed(BaseException):
    """The process is gone: it does nothing any more, not even clean up."""


class Interference:
    """Counts the calls, and lets ``happen`` happen before one of them.

    :ivar before: the name of that call; None: it was not reached.
    """

    def __init__(
        self, number: int, happen: Callable[[], None], *, of: Collection[str] = CALLS
    ) -> None:
        """Before call ``number`` of those ``of`` these, counted from 0; `Killed` may be raised."""
        self._of = of
        self._number = number
        self._happen = happen
        self._is_dead = False
        self._pauses = False
        self.before: str | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """While this runs, calls are counted."""
        with ExitStack() as stack:
            for name in CALLS:
                stack.enter_context(mock.patch.object(os, name, self._counted(name)))
            yield

    def _counted(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if not self._pauses:
                self._count(name)
            return real(*arguments, **options)

        return call

    def _count(self, name: str) -> None:
        if self._is_dead:
            raise Killed
        if name not in self._of:
            return
        self._number -= 1
        if self._number == -1:
            self.before = name
            self._pauses = True
            try:
                self._happen()
            except Killed:
                self._is_dead = True
                raise
            finally:
                self._pauses = False
