"""``backlotfs warm``: have files on the disk before they are needed."""

from __future__ import annotations

import time
from pathlib import Path

import click

from backlotfs.cli.warm_report import fetch, look, report
from backlotfs.cli.warm_run import check_room

JOBS = 4


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path))
@click.option(
    "--jobs", type=click.IntRange(1, 32), default=JOBS, help=f"So many at a time [{JOBS}]."
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def warm(paths: tuple[Path, ...], jobs: int, as_json: bool) -> None:
    """Have the disk tier hold files, or all files below folders, of a running mount.

    Reading them later fetches nothing, also after a restart. What is held already is not fetched:
    after Ctrl-C the same command goes on.
    """
    began_s = time.monotonic()
    looked = look(paths, jobs, wanted=not as_json)
    check_room(looked)
    fetch(looked, jobs, "warm", wanted=not as_json)
    report(looked, "warm", as_json, time.monotonic() - began_s)
