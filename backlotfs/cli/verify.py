"""``backlotfs verify``: is a copy still what was exported?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from backlotfs.cli.export import find_files, problem_line
from backlotfs.cli.transfer_bar import TransferBar
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.export.destination import MANIFEST, WORKSPACE, Destination, UnsafeDestination
from backlotfs.export.items import printable
from backlotfs.export.verifying import check_files, read_entries, strangers
from backlotfs.log.terminal import in_words, say, say_json

#: More are only counted.
_STRANGERS_SHOWN = 10


class CopyDiffers(BacklotError):
    """A copy is not what its manifest or its sources say; each file was named."""


@click.command()
@click.argument("destination", type=click.Path(path_type=Path), metavar="DEST")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SRC",
    help="Compare sizes with SRC too, and see that all of it is there; as `export` took it …",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="Files at a time [4].")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def verify(destination: Path, sources: tuple[str, ...], jobs: int, as_json: bool) -> None:
    """Check every file in DEST against the manifest that `export` left there.

    Symbolic links in DEST are never followed. Files that the manifest does not know are named, and
    are no failure.
    """
    try:
        opened = Destination.open(destination)
    except OSError as error:
        raise SettingsError(
            f"{destination} cannot be opened: {error.strerror}; "
            "name the folder that an export went to"
        ) from None
    with opened:
        _verify(opened, sources, jobs, as_json)


def _verify(destination: Destination, sources: Sequence[str], jobs: int, as_json: bool) -> None:
    """:raises SettingsError: there is no manifest. :raises CopyDiffers: a file is wrong."""
    entries, unfinished = read_entries(destination)
    if not entries:
        raise SettingsError(
            f"there is no {MANIFEST} in {destination.path}; name the folder that an export went to"
        )
    items, problems = find_files(sources, as_json) if sources else ([], [])
    sizes = {item.name: item.size_bytes for item in items}
    total_bytes = sum(_size_of(destination, name) for name in entries)
    with TransferBar("verify", total_bytes, wanted=not as_json) as bar:
        for problem in problems:
            bar.say(problem_line(problem))
        for _, found in check_files(destination, entries, sizes, jobs=jobs, moved=bar.moved):
            if found is not None:
                problems.append(found)
                bar.say(problem_line(found))
    unknown = strangers(destination, entries)
    checked = len(entries)
    if as_json:
        report = {
            "destination": str(destination.path),
            "checked": checked,
            "bytes": total_bytes,
            "problems": [asdict(problem) for problem in problems],
            "not_in_manifest": unknown,
            "unfinished": unfinished,
        }
        say_json(report)
    else:
        _say_strangers(unknown, unfinished)
        say(f"{checked} files, {in_words(total_bytes)}, checked; {len(problems)} wrong")
    if problems:
        raise CopyDiffers(f"{len(problems)} files are not as they should be, each is named above")


def _say_strangers(unknown: list[str], unfinished: int | None) -> None:
    for name in unknown[:_STRANGERS_SHOWN]:
        say(f"not in the manifest: {printable(name)}")
    if len(unknown) > _STRANGERS_SHOWN:
        say(f"not in the manifest: {len(unknown) - _STRANGERS_SHOWN} more")
    if unfinished is None:
        say(f"{WORKSPACE} is not yours: an export of another user may be unfinished")
    elif unfinished:
        say(f"{unfinished} files are half exported; run the export again")


def _size_of(destination: Destination, name: str) -> int:
    try:
        found = destination.look(name)
    except (UnsafeDestination, OSError):
        return 0
    return 0 if found is None else found.st_size
