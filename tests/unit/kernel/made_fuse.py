# SPDX-License-Identifier: Apache-2.0
"""What is needed of fusepy and libfuse, without either."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable
from typing import Any


class Function:
    """A C function that notes its arguments and answers with what it was told."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.restype: object = ctypes.c_int

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        return self.answer


class MadeFuse(types.ModuleType):
    """The module ``fuse``; its session is what the test says.

    :ivar operations: the object that fusepy calls. :ivar mountpoint: as it was given.
    """

    def __init__(self, session: Callable[[], None] = lambda: None) -> None:
        super().__init__("fuse")
        self.session = session
        self.operations: Any = None
        self.mountpoint = ""
        self.options: dict[str, Any] = {}
        self.pid = 4711
        self._libfuse = types.SimpleNamespace(fuse_interrupted=Function(0))
        self.FUSE = self._mount

    def _mount(self, operations: Any, mountpoint: str, **options: Any) -> None:
        self.operations, self.mountpoint, self.options = operations, mountpoint, options
        self.session()

    def fuse_get_context(self) -> tuple[int, int, int]:
        """User, group and process of the caller."""
        return 1000, 1000, self.pid
