"""``backlotfs pin``, ``unpin`` and ``pins``: files that stay on the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mounted_files import mounted_paths
from backlotfs.cli.mountpoints import MOUNTED, the_mount
from backlotfs.cli.warm import JOBS
from backlotfs.cli.warm_report import fetch, look, report
from backlotfs.cli.warm_run import Warmed
from backlotfs.export.items import printable
from backlotfs.log.terminal import in_words, say, say_json
from backlotfs.mount.control.client import ask

_PATHS = click.argument(
    "paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path)
)


@click.command()
@_PATHS
@click.option(
    "--jobs", type=click.IntRange(1, 32), default=JOBS, help=f"So many at a time [{JOBS}]."
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def pin(paths: tuple[Path, ...], jobs: int, as_json: bool) -> None:
    """Fetch files, or all files that are below folders now, and keep them on the disk.

    They stay until they are unpinned, over restarts too; a source that is replaced is fetched anew.
    After Ctrl-C the same command goes on. All pins together may take --pin-quota of the mount's
    --cache-size; what does not fit is refused before anything is fetched.
    """
    began_s = time.monotonic()
    for place in {path.place for path in mounted_paths(paths)}:
        ask(place, "pins", brief=True)  # a mount that cannot pin says so once, not for each file
    looked = look(paths, jobs, wanted=not as_json)
    _make_pins([warmed for warmed in looked if warmed.error is None])
    try:
        fetch(looked, jobs, "pin", wanted=not as_json)
    except KeyboardInterrupt:
        say(
            "backlotfs: stopped: the files are pinned, what was fetched of them stays; the same "
            "command goes on, `backlotfs unpin` takes it back",
            err=True,
        )
        raise
    report(looked, "pin", as_json, time.monotonic() - began_s)


@click.command()
@_PATHS
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def unpin(paths: tuple[Path, ...], as_json: bool) -> None:
    """Let files, or all files below folders, go again when room is needed.

    What is held of them stays until then. The mountpoint itself: every pin of the mount.
    """
    answers = [ask(path.place, "unpin", path=path.inner) for path in mounted_paths(paths)]
    found = {key: sum(answer[key] for answer in answers) for key in ("files", "size")}
    if as_json:
        say_json(found)
    elif found["files"]:
        say(f"{found['files']} files, {in_words(found['size'])}, are not pinned any more")
    else:
        say("nothing of it was pinned")


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object; sizes in bytes.")
def pins(mountpoint: Path | None, as_json: bool) -> None:
    """List the pinned files of a mount, and how much of each is on the disk."""
    place = the_mount(mountpoint)
    answer = ask(place, "pins")
    if as_json:
        say_json(answer)
        return
    files = answer["files"]
    say(
        f"{len(files)} files pinned, {in_words(answer['held_bytes'])} of "
        f"{in_words(answer['needed_bytes'])} on the disk; all pins may take "
        f"{in_words(answer['quota_bytes'])}"
    )
    for file in files:
        say(_line(file))


def _line(file: dict[str, Any]) -> str:
    part = 100 * file["held"] // file["size"] if file["size"] else 100
    name = printable(file["paths"][0]) if file["paths"] else f"{file['id']} (not in the library)"
    return f"{part:3} % of {in_words(file['size']):>10}  {name}"


def _make_pins(files: Sequence[Warmed]) -> None:
    """All of them, or none: first every mount is asked whether they fit."""
    by_place: dict[Path, list[Warmed]] = {}
    for warmed in files:
        by_place.setdefault(warmed.file.place, []).append(warmed)
    for dry_run in (True, False):
        for place, mine in by_place.items():
            sources = [[warmed.embed_code, warmed.version] for warmed in mine]
            ask(place, "pin", sources=sources, dry_run=dry_run)
    for warmed in files:
        warmed.pinned = True
