"""``backlotfs status`` and ``backlotfs refresh``: ask a running mount."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from backlotfs.cli.mountpoints import MOUNTED, the_mount
from backlotfs.cli.progress import SizesBar, in_a_line
from backlotfs.cli.status_text import one_line, sizes_left, status_lines
from backlotfs.log.terminal import field, say, say_json
from backlotfs.mount.control.client import AnswerLate, ask

_WATCH_S = 1.0


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.option(
    "--watch",
    is_flag=True,
    help="Again every second, until Ctrl-C; a line each time where there is no terminal.",
)
def status(mountpoint: Path | None, as_json: bool, watch: bool) -> None:
    """Tell how a mount is: library, sizes, cache, throughput, credits, last errors, readers."""
    place = the_mount(mountpoint)
    if watch and sys.stdout.isatty() and not as_json:
        _redraw(place)
    answer = ask(place, "status")
    while True:
        if as_json:
            say_json(answer)
        elif watch:
            more = f"; {in_a_line(answer)}" if sizes_left(answer) else ""
            say(one_line(answer) + more)
        else:
            say("\n".join(_plain(answer)))
        if not watch:
            return
        answer = _next_answer(place)


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--full", is_flag=True, help="List the whole library, not only what changed.")
def refresh(mountpoint: Path | None, full: bool) -> None:
    """Have a mount look for news of the library now."""
    place = the_mount(mountpoint)
    ask(place, "refresh", full=full)
    say(f"{place} looks for news; see: backlotfs status {place}")


def _plain(answer: dict[str, Any]) -> list[str]:
    return [f"{name:14} {text}" for name, text in status_lines(answer)]


def _next_answer(place: Path) -> dict[str, Any]:
    """A second later; a mount that is too busy to answer in time is asked again."""
    while True:
        time.sleep(_WATCH_S)
        with contextlib.suppress(AnswerLate):
            return ask(place, "status")


def _redraw(place: Path) -> None:
    """Until Ctrl-C, or until the mount is gone, which is said. ``NO_COLOR`` is rich's to heed."""
    # Asked once before: what fails at once is told on a clean screen.
    answer = ask(place, "status")
    console = Console()
    bar = SizesBar(console)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            shown = Text()
            for name, text in status_lines(answer):
                shown.append(f"{name:14} ", "bold cyan")
                shown.append(f"{field(text)}\n", "red" if "STALE" in text else "")
            bar.show(answer)
            live.update(Group(shown, bar.progress) if sizes_left(answer) else shown, refresh=True)
            answer = _next_answer(place)
