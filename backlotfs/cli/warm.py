"""``backlotfs warm``: have files on the disk before they are needed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from backlotfs.cli.mounted_files import mounted_files
from backlotfs.cli.transfer_bar import TransferBar, in_words
from backlotfs.cli.warm_run import Warmed, WarmRun
from backlotfs.errors import BacklotError
from backlotfs.export.items import printable

JOBS = 4


class NotAllWarm(BacklotError):
    """Some files are not held whole; exits as the first of them would."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # per instance: it is the first error's


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
    files = mounted_files(paths)
    with TransferBar("looking", 0, wanted=not as_json) as bar:
        run = WarmRun(jobs, moved=bar.moved, failed=lambda warmed: _say(bar, warmed))
        looked = run.look(files)
    total_bytes = sum(warmed.size for warmed in looked if warmed.held < warmed.size)
    with TransferBar("warm", total_bytes, wanted=not as_json) as bar:
        run = WarmRun(jobs, moved=bar.moved, failed=lambda warmed: _say(bar, warmed))
        run.warm(looked)
    _report(looked, as_json, time.monotonic() - began_s)


def _say(bar: TransferBar, warmed: Warmed) -> None:
    bar.say(f"backlotfs: {printable(str(warmed.file))}: {warmed.error}")


def _report(files: list[Warmed], as_json: bool, took_s: float) -> None:
    """The result on stdout. :raises NotAllWarm: a file is not held whole."""
    failed = [warmed for warmed in files if warmed.error is not None]
    fetched = sum(warmed.fetched for warmed in files)
    held = sum(warmed.held for warmed in files)
    if as_json:
        summary = {
            "files": [
                {
                    "path": str(warmed.file),
                    "size": warmed.size,
                    "held_before": warmed.before,
                    "held": warmed.held,
                    "fetched_bytes": warmed.fetched,
                    "error": None if warmed.error is None else str(warmed.error),
                }
                for warmed in files
            ],
            "held_bytes": held,
            "fetched_bytes": fetched,
            "failed": len(failed),
            "seconds": round(took_s, 3),
        }
        click.echo(json.dumps(summary))
    else:
        click.echo(
            f"{len(files) - len(failed)} files, {in_words(held)}, are on the disk; "
            f"{in_words(fetched)} fetched for it"
        )
    if failed:
        code = failed[0].error.exit_code if failed[0].error is not None else 1
        raise NotAllWarm(
            f"{len(failed)} of {len(files)} files are not warm, each is named above; "
            "run the same command again: what is held stays",
            code,
        )
