# SPDX-License-Identifier: Apache-2.0
"""Signals that the caller ignores must still reach the programs that tests start.

``make test &`` in a shell without job control ignores SIGINT and SIGQUIT, ``nohup`` ignores SIGHUP.
A process inherits what is ignored, and so would every command that a test means to interrupt.
"""

from __future__ import annotations

import signal

#: Python ignores these itself, and `subprocess` restores them in each program that it starts.
_IGNORED_BY_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


def give_children_default_signals() -> None:
    """Replace each ignored signal by a handler that does nothing; call it in the main thread.

    The kernel resets handlers to the default when a program is started, but keeps what is ignored.
    So this process goes on ignoring the signal, as ``nohup`` asks, and its children do not. SIGINT
    gets Python's own handler, because tests raise it in this process.
    """
    for number in signal.valid_signals() - _IGNORED_BY_PYTHON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            continue
        handler = signal.default_int_handler if number == signal.SIGINT else _do_nothing
        signal.signal(number, handler)


def _do_nothing(_number: int, _frame: object) -> None:
    pass
