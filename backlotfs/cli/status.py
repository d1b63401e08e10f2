"""``backlotfs status`` and ``backlotfs refresh``: ask a running mount."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mountpoints import MOUNTED, the_mount
from backlotfs.control.client import ask

_WATCH_S = 1.0


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
def status(mountpoint: Path | None, as_json: bool, watch: bool) -> None:
    """Tell how a mount is: listing, sizes, credits, last error."""
    place = the_mount(mountpoint)
    while True:
        answer = ask(place, "status")
        if as_json:
            click.echo(json.dumps(answer, ensure_ascii=False))
        else:
            if watch:
                click.clear()
            click.echo("\n".join(f"{name:14} {text}" for name, text in _lines(answer)))
        if not watch:
            return
        time.sleep(_WATCH_S)


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--full", is_flag=True, help="List the whole library, not only what changed.")
def refresh(mountpoint: Path | None, full: bool) -> None:
    """Have a mount look for news of the library now."""
    place = the_mount(mountpoint)
    ask(place, "refresh", full=full)
    click.echo(f"{place} looks for news; see: backlotfs status {place}")


def _lines(answer: dict[str, Any]) -> list[tuple[str, str]]:
    sizes = answer["sizes"]
    left = sizes["total"] - sizes["sized"] - sizes["missing"]
    lines = [
        ("mounted", f"{answer['source']} on {answer['mountpoint']} (pid {answer['pid']})"),
        ("assets", f"{answer['assets']}"),
        ("sizes", f"{sizes['sized']} known, {sizes['missing']} without a source, {left} to go"),
    ]
    if left and sizes["seconds_left"] is not None:
        lines.append(("", f"about {_duration(sizes['seconds_left'])} left"))
    synced = answer["synced_at"]
    when = datetime.fromtimestamp(synced, UTC).isoformat(" ", "seconds") if synced else "never"
    stale = " (STALE: the last look for news failed)" if answer["stale"] else ""
    lines.append(("listed", when + stale))
    if answer["last_error"]:
        lines.append(("last error", answer["last_error"]))
    credits = answer["credits"]
    lines.append(("API credits", f"{credits['credits_left']} of {credits['limit']} left"))
    lines.append(("URLs renewed", str(answer["url_refreshes"])))
    lines.append(("log", answer["log"]))
    return lines


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
