# SPDX-License-Identifier: Apache-2.0
"""``backlotfs status``, ``stats`` and ``refresh``: ask a running mount."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mountpoints import MOUNTED, the_mount
from backlotfs.cli.progress import REFRESH, sizes_left, sizes_line, wait_for
from backlotfs.cli.status_text import (
    columns,
    one_line,
    process_table,
    stats_lines,
    status_lines,
    wrapped,
)
from backlotfs.errors import CommandFailed
from backlotfs.log.terminal import printable, say, say_json
from backlotfs.mount.control.client import AnswerLate, ask

_WATCH_S = 1.0


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--watch",
    is_flag=True,
    help="Draw plots, readers and counts each second until Ctrl-C; lines if stdout is no terminal.",
)
def status(mountpoint: Path | None, as_json: bool, watch: bool) -> None:
    """Show the state of a mount: library, sizes, cache, throughput, credits, errors, readers."""
    place = the_mount(mountpoint)
    if watch and not as_json and _draws():
        # late: the import of rich takes longer than all other imports
        from backlotfs.cli.live_status import show_live

        show_live(place)
        return
    answer = ask(place, "status")
    while True:
        if as_json:
            say_json(answer)
        elif watch:
            more = f"; {sizes_line(answer)}" if sizes_left(answer) else ""
            say(one_line(answer) + more)
        else:
            lines = status_lines(answer)
            say("\n".join(columns(wrapped(lines) if sys.stdout.isatty() else lines)))
        if not watch:
            return
        answer = _next_answer(place)


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes are in bytes.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it into a file, .svg or .png: over time, by program, from where.",
)
def stats(mountpoint: Path | None, as_json: bool, plot: Path | None) -> None:
    """Show what a mount has read since it started: for which programs, from where, at what cost."""
    if plot is not None:
        # late: only a plot needs this module
        from backlotfs.cli.stats_plot import check_file, write_plot

        check_file(plot)
    place = the_mount(mountpoint)
    answer = ask(place, "stats")
    if plot is not None:
        write_plot(answer, plot)
    if as_json:
        say_json(answer)
    elif plot is not None:
        say(f"{printable(str(plot))} shows what {place} has read")
    else:
        say("\n".join(columns(stats_lines(answer)) + process_table(answer["processes"])))


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--full", is_flag=True, help="List the whole library, not only the changes.")
@click.option("--wait", "waits", is_flag=True, help="Return when the mount shows the changes.")
def refresh(mountpoint: Path | None, full: bool, waits: bool) -> None:
    """Make a mount fetch the changes of the library now."""
    place = the_mount(mountpoint)
    ask(place, "refresh", full=full)
    if not waits:
        say(f"{place} is refreshing; see: backlotfs status {place}")
        return
    answer = wait_for(place, REFRESH)
    if answer["stale"]:
        raise CommandFailed(f"the listing is not up to date: {answer['last_error']}")
    say(f"{place} is up to date")


def _draws() -> bool:
    """Whether stdout is a terminal on which a picture can be drawn over the last one."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _next_answer(place: Path) -> dict[str, Any]:
    """The answer a second later; a mount that is too busy to answer in time is asked again."""
    while True:
        time.sleep(_WATCH_S)
        with contextlib.suppress(AnswerLate):
            return ask(place, "status")
