"""Ctrl-C, SIGTERM and a closed terminal as one exception that never cuts a clean-up short."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end; not an ``Exception``, so that nothing swallows it.

    :ivar signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Interruption:
    """While entered, the first signal raises `Stopped` in the main thread; later ones do nothing.

    Inside `hold` a signal waits for the end of the block, so that what a block acquires is either
    not there or known to whoever cleans up. Main thread only.

    :ivar signum: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._raised = False
        self._holds = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for signum in _SIGNALS:
            # under nohup a closed terminal is to be survived
            if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                continue
            self._previous[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, *_exc: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A block no signal interrupts.

        :raises Stopped: at its end, when one came meanwhile.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._raise_if_due()

    def hold_for_good(self) -> None:
        """From here on signals are only remembered: what follows is the clean-up."""
        self._holds += 1

    @property
    def exit_code(self) -> int:
        """What a shell expects of a command that a signal ended: 128 + its number; else 0."""
        return 0 if self.signum is None else 128 + self.signum

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self.signum is not None and not self._holds and not self._raised:
            self._raised = True
            raise Stopped(self.signum)
