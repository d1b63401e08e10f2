# SPDX-License-Identifier: Apache-2.0
"""The messages and the result of an export, on one machine or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from backlotfs.cli.progress import TransferBar
from backlotfs.errors import BacklotError
from backlotfs.export.destination import MANIFEST
from backlotfs.export.exporter import Outcome, State
from backlotfs.export.items import Problem
from backlotfs.log.terminal import counted, in_words, printable, say, say_json


class ExportIncomplete(BacklotError):
    """Some files were not exported; a line before named each of them."""


def say_failures(outcomes: Sequence[Outcome], bar: TransferBar | None = None) -> None:
    for outcome in outcomes:
        if outcome.state is State.FAILED:
            line = problem_line(Problem(outcome.name, outcome.reason or "failed"))
            if bar is not None:
                bar.say(line)
            else:
                say(line, err=True)


def stopped_line(complete: int, total: int) -> str:
    """The line on stderr at Ctrl-C."""
    return (
        f"backlotfs: stopped: {complete} of {counted(total, 'file')} complete; "
        "run the same command again to continue"
    )


def problem_line(problem: Problem) -> str:
    """The line on stderr for a file with a problem."""
    return f"backlotfs: {printable(problem.name)}: {problem.reason}"


def report(outcomes: Sequence[Outcome], destination: str, as_json: bool, took_s: float) -> None:
    """Print the result. :raises ExportIncomplete: a file failed."""
    by_state = {state: [o for o in outcomes if o.state is state] for state in State}
    moved = by_state[State.COPIED] + by_state[State.PLANNED]
    moved_bytes = sum(outcome.size_bytes for outcome in moved)
    if as_json:
        summary = {
            "destination": destination,
            "manifest": f"{destination.rstrip('/')}/{MANIFEST}",
            "seconds": round(took_s, 3),
            "bytes": moved_bytes,
            **{state.value: len(by_state[state]) for state in State},
            "files": [asdict(outcome) for outcome in outcomes],
        }
        say_json(summary)
    else:
        for outcome in by_state[State.PLANNED]:
            say(f"{printable(outcome.name)}  {in_words(outcome.size_bytes)}")
        verb = "to copy" if by_state[State.PLANNED] or not took_s else "copied and verified"
        compared = len(by_state[State.VERIFIED])
        rest = [
            *([f"{compared} compared with the source"] if compared else []),
            f"{len(by_state[State.UNCHANGED])} unchanged (size and time)",
            f"{len(by_state[State.FAILED])} failed",
        ]
        say(f"{counted(len(moved), 'file')}, {in_words(moved_bytes)}, {verb}; {', '.join(rest)}")
        if by_state[State.COPIED]:
            say(f"check them at any time: backlotfs verify {destination}")
    failed = by_state[State.FAILED]
    if failed:
        again = "; run the same command again to continue"
        raise ExportIncomplete(
            f"{len(failed)} of {counted(len(outcomes), 'file')} failed; each is named above"
            + again * any(outcome.can_pass for outcome in failed)
        )
