# SPDX-License-Identifier: Apache-2.0
"""``backlotfs pin``, ``unpin`` and ``pins``: files that stay in the disk cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mountpoints import MOUNTED, PATHS, mounted_paths, the_mount
from backlotfs.cli.warm import JOBS_OPTION, Warmed, by_mount, fetch, inspect, report
from backlotfs.log.terminal import counted, in_words, printable, say, say_json
from backlotfs.mount.control.client import ask


@click.command()
@PATHS
@JOBS_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def pin(paths: tuple[Path, ...], jobs: int, as_json: bool) -> None:
    """Fetch files, or all files that are below folders now, and keep them in the disk cache.

    They stay until they are unpinned, over restarts too. If a source is replaced, the new version
    is fetched. After Ctrl-C, run the same command to continue. All pins together may use the
    --pin-quota of the mount's --cache-size; if the files do not fit, nothing is fetched.
    """
    began_s = time.monotonic()
    for place in {path.place for path in mounted_paths(paths)}:
        ask(place, "pins", brief=True)  # an error of a mount that cannot pin comes only once
    files = inspect(paths, jobs, wanted=not as_json)
    _make_pins([warmed for warmed in files if warmed.error is None])
    try:
        fetch(files, jobs, "pin", wanted=not as_json)
    except KeyboardInterrupt:
        say(
            "backlotfs: stopped: the files are pinned and partly fetched; run the same command to "
            "continue, or undo it with `backlotfs unpin`",
            err=True,
        )
        raise
    report(files, "pin", as_json, time.monotonic() - began_s)


@click.command()
@PATHS
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def unpin(paths: tuple[Path, ...], as_json: bool) -> None:
    """Unpin files, or all files below folders; their blocks are evicted when room is needed.

    For the mountpoint itself, remove all pins of the mount.
    """
    answers = [ask(path.place, "unpin", path=path.name_in_mount) for path in mounted_paths(paths)]
    found = {key: sum(answer[key] for answer in answers) for key in ("files", "size")}
    if as_json:
        say_json(found)
    elif found["files"]:
        say(f"unpinned {counted(found['files'], 'file')}, {in_words(found['size'])}")
    else:
        say("no file there was pinned")


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes are in bytes.")
def pins(mountpoint: Path | None, as_json: bool) -> None:
    """List the pinned files of a mount, and how much of each is in the disk cache."""
    answer = ask(the_mount(mountpoint), "pins")
    if as_json:
        say_json(answer)
        return
    files = answer["files"]
    say(
        f"{counted(len(files), 'file')} pinned, {in_words(answer['cached_bytes'])} of "
        f"{in_words(answer['needed_bytes'])} in the disk cache; quota for pins: "
        f"{in_words(answer['quota_bytes'])}"
    )
    for file in files:
        say(_line(file))


def _line(file: dict[str, Any]) -> str:
    part = 100 * file["cached_bytes"] // file["size"] if file["size"] else 100
    name = printable(file["paths"][0]) if file["paths"] else f"{file['id']} (not in the library)"
    return f"{part:3} % of {in_words(file['size']):>10}  {name}"


def _make_pins(files: Sequence[Warmed]) -> None:
    """Pin all files or none: first ask every mount whether they fit."""
    for dry_run in (True, False):
        for place, mine in by_mount(files).items():
            sources = [[warmed.embed_code, warmed.version] for warmed in mine]
            ask(place, "pin", sources=sources, dry_run=dry_run)
    for warmed in files:
        warmed.pinned = True
