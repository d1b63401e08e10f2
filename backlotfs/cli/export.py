"""``backlotfs export``: copies that are complete and proven, or not there at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from backlotfs.cli.progress import noting_credits
from backlotfs.cli.transfer_bar import TransferBar
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.export.destination import MANIFEST, Destination, Workspace
from backlotfs.export.exporter import Exporter, Outcome, State, planned
from backlotfs.export.file_copy import written_bytes
from backlotfs.export.items import Item, Problem, find_items, kept_apart, printable
from backlotfs.export.manifest import read_journal, read_manifest
from backlotfs.export.verifying import read_entries
from backlotfs.log.terminal import in_words, say, say_json
from backlotfs.namespace.incomplete_notice import Notice

_NOT_ALL_LISTED = (
    "the mount hides files of unknown size (--unsized hide), as it cannot see who asks; "
    "run this again when backlotfs status says 0 to go"
)


class ExportIncomplete(BacklotError):
    """Some files could not be exported; each was named."""


class NothingThere(BacklotError):
    """Empty folders: most likely a mountpoint without its mount, so that fine would be a lie."""


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC…")
@click.argument("destination", type=click.Path(path_type=Path, file_okay=False), metavar="DEST")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="Files at a time [4].")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be copied; write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace files in DEST that no export made.")
@click.option(
    "--checksum",
    is_flag=True,
    help="Read unchanged files and their sources too; copy those that differ.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def export(
    sources: tuple[str, ...],
    destination: Path,
    jobs: int,
    dry_run: bool,
    overwrite: bool,
    checksum: bool,
    as_json: bool,
) -> None:
    """Copy files and folders SRC of a mount into the folder DEST, verified, with a manifest.

    Each file is read back from the disk before it gets its name. Run again, it goes on where it
    was cut off and copies only what changed: files of an earlier export with the size and time of
    their source are unchanged, and are not read without --checksum. SRC/ with a slash: the
    folder's contents only. Symbolic links in DEST are never followed.
    DEST/MANIFEST.sha256 is what `sha256sum -c` and `backlotfs verify` check.
    """
    if dry_run and checksum:
        raise SettingsError("--dry-run reads no file, --checksum reads all; give one of them")
    started_s = time.monotonic()
    items, problems = find_files(sources, as_json)
    lost = _lost(problems)
    try:
        if dry_run:
            plan = _plan(items, destination, overwrite)
            _say_failures([*lost, *plan])
            _report([*lost, *plan], destination, as_json, 0.0)
            return
        with Destination.open(destination, make=True) as opened, opened.claim() as workspace:
            entries = read_manifest(opened) | read_journal(opened, workspace)
            plan = planned(items, opened, entries, overwrite=overwrite)
            _check_room(opened, workspace, plan)
            if workspace.folds_case():
                items, clashing = kept_apart(items)
                lost += _lost(clashing)
            with TransferBar("export", _total_bytes(items), wanted=not as_json) as bar:
                _say_failures(lost, bar)
                exporter = Exporter(
                    opened,
                    workspace,
                    jobs=jobs,
                    overwrite=overwrite,
                    checksum=checksum,
                    moved=bar.moved,
                    finished=lambda outcome: _say_failures([outcome], bar),
                )
                with noting_credits(sources, bar.note):
                    outcomes = [*lost, *exporter.run(items)]
    except OSError as error:
        raise SettingsError(
            f"cannot write to {destination}: {error.strerror}; "
            "choose a folder of your own, with room"
        ) from None
    _report(outcomes, destination, as_json, time.monotonic() - started_s)


def find_files(sources: Sequence[str], as_json: bool) -> tuple[list[Item], list[Problem]]:
    """As `find_items`; says meanwhile what the mount waits for, unless ``as_json``.

    A folder of which a mount hides files is a problem, not a complete copy. It hides none from us,
    but in a container it may not see who asks.

    :raises NothingThere: there is neither a file nor trouble in ``sources``.
    """
    with (
        TransferBar("looking", 0, wanted=not as_json) as bar,
        noting_credits(sources, bar.note),
    ):
        items, problems = find_items(sources, time.sleep)
    if not items and not problems:
        raise NothingThere(
            f"there is no file in {', '.join(sources)}; is it mounted? see: backlotfs status"
        )
    problems += [Problem(item.name, _NOT_ALL_LISTED) for item in items if _is_notice(item)]
    return [item for item in items if not _is_notice(item)], problems


def _is_notice(item: Item) -> bool:
    """Whether a mount made the file, to say that its folder holds more files than it lists."""
    name = os.path.basename(item.name)
    return Notice.is_name(name) and item.size_bytes == len(Notice(name, 0).text)


def _plan(items: Sequence[Item], path: Path, overwrite: bool) -> list[Outcome]:
    """What would be done; nothing is made.

    :raises SettingsError: the manifest is damaged. :raises OSError: DEST cannot be opened.
    """
    try:
        opened = Destination.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return planned(items, None, {}, overwrite=overwrite)
    with opened:
        entries, _ = read_entries(opened)
        return planned(items, opened, entries, overwrite=overwrite)


def _total_bytes(items: Sequence[Item]) -> int:
    return sum(item.size_bytes for item in items)


def _lost(problems: Sequence[Problem]) -> list[Outcome]:
    return [Outcome(p.name, State.FAILED, 0, reason=p.reason) for p in problems]


def _check_room(destination: Destination, workspace: Workspace, plan: Sequence[Outcome]) -> None:
    to_copy = [outcome for outcome in plan if outcome.state is State.PLANNED]
    needed = sum(
        outcome.size_bytes - min(outcome.size_bytes, written_bytes(workspace, outcome.name))
        for outcome in to_copy
    )
    free = shutil.disk_usage(destination.descriptor).free
    if needed > free:
        raise SettingsError(
            f"{in_words(needed)} are to be copied, {destination.path} has room for "
            f"{in_words(free)}; make room, or export less"
        )


def _say_failures(outcomes: Sequence[Outcome], bar: TransferBar | None = None) -> None:
    for outcome in outcomes:
        if outcome.state is State.FAILED:
            line = problem_line(Problem(outcome.name, outcome.reason or "failed"))
            if bar is not None:
                bar.say(line)
            else:
                say(line, err=True)


def problem_line(problem: Problem) -> str:
    """The one line for a file with which something is wrong."""
    return f"backlotfs: {printable(problem.name)}: {problem.reason}"


def _report(outcomes: Sequence[Outcome], destination: Path, as_json: bool, took_s: float) -> None:
    """The result on stdout. :raises ExportIncomplete: a file failed."""
    by_state = {state: [o for o in outcomes if o.state is state] for state in State}
    moved = by_state[State.COPIED] + by_state[State.PLANNED]
    moved_bytes = sum(outcome.size_bytes for outcome in moved)
    if as_json:
        summary = {
            "destination": str(destination),
            "manifest": str(destination / MANIFEST),
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
            *([f"{compared} compared with their sources"] if compared else []),
            f"{len(by_state[State.UNCHANGED])} unchanged (size and time)",
            f"{len(by_state[State.FAILED])} failed",
        ]
        say(f"{len(moved)} files, {in_words(moved_bytes)}, {verb}; {', '.join(rest)}")
        if by_state[State.COPIED]:
            say(f"check them any time: backlotfs verify {destination}")
    if by_state[State.FAILED]:
        raise ExportIncomplete(
            f"{len(by_state[State.FAILED])} of {len(outcomes)} files failed, each is named above; "
            "run the same command again: what is there stays"
        )
