"""Running other programs so that an interruption leaves none of them behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backlotfs.demo.interruption import Interruption

_POLITE_S = 3.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended.

    Attributes:
        status: its exit status; negative for a signal.
        output: standard output and standard error as they came, decoded.
    """

    status: int
    output: str


def environment() -> dict[str, str]:
    """Ours, without what would turn the demo to a real account."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BACKLOT_")}


def run(command: Sequence[str | Path], interruption: Interruption) -> Finished:
    """Run a program to its end. Main thread.

    :raises FileNotFoundError: when it is not installed.
    :raises Stopped: on a signal, once the program has been ended too.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with interruption.hold():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        output, _ = process.communicate()
    except BaseException:
        if process is not None:
            end(process)
        raise
    return Finished(process.returncode, output.decode("utf-8", "replace"))


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, then make it. One that waits for a dead mount is left to the unmount,
    which wakes it.
    """
    for ask in (process.terminate, process.kill):
        ask()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLITE_S)
            break
    if process.stdout is not None:
        process.stdout.close()
