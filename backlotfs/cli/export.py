"""``backlotfs export`` and ``backlotfs verify``: copies of files, checked against their sources."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from backlotfs.cli.mountpoints import MountedFile, mount_of, mounted_paths
from backlotfs.cli.progress import TransferBar, credits_shown
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.export.destination import (
    MANIFEST,
    WORKSPACE,
    Destination,
    UnsafeDestination,
    Workspace,
)
from backlotfs.export.exporter import ROOM_BYTES, Exporter, Outcome, State, planned
from backlotfs.export.file_copy import DirectSource, Version, written_bytes
from backlotfs.export.items import Item, Problem, find_items, kept_apart
from backlotfs.export.manifest import Records, read_records
from backlotfs.export.verifying import check_files, read_all_records, strangers
from backlotfs.log.terminal import in_words, printable, say, say_json
from backlotfs.namespace.incomplete_notice import Notice

_NOT_ALL_LISTED = (
    "the mount hides files of unknown size (--unsized hide) and does not know this program; "
    "run this again when backlotfs status says: sizes all known"
)


#: How many files a mount is asked for at once.
_AT_ONCE = 64
#: How many files outside the manifest are named; the others are counted.
_STRANGERS_SHOWN = 10


class ExportIncomplete(BacklotError):
    """Some files were not exported; each was named."""


class NothingThere(BacklotError):
    """The sources hold no file: most likely a mountpoint without its mount, so this is an error."""


class CopyDiffers(BacklotError):
    """A copy differs from its manifest or its sources; each file was named."""


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC…")
@click.argument("destination", type=click.Path(path_type=Path, file_okay=False), metavar="DEST")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=32, help="Most files in parallel [32]."
)
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be copied; write nothing.")
@click.option(
    "--overwrite", is_flag=True, help="Replace files in DEST that are not from an export."
)
@click.option(
    "--checksum",
    is_flag=True,
    help="Compare unchanged files with their sources too; copy those that differ.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
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

    Each copy is read back from the disk before it gets its final name. A second run continues
    where the first stopped and copies only what changed: a file of an earlier export with the
    size and time of its source is unchanged, and is read only with --checksum. SRC/ with a slash
    stands for the contents of the folder. Symbolic links in DEST are never followed.
    `sha256sum -c` and `backlotfs verify` check DEST/MANIFEST.sha256.
    """
    if dry_run and checksum:
        raise SettingsError(
            "--dry-run reads no file and --checksum reads all; use only one of them"
        )
    _say_other_sources(sources)
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
            records = read_records(opened, workspace)
            plan = planned(items, opened, records, overwrite=overwrite)
            _check_room(opened, workspace, plan)
            if workspace.folds_case():
                items, clashing = kept_apart(items)
                lost += _lost(clashing)
            with TransferBar("export", _total_bytes(items), wanted=not as_json) as bar:
                _say_failures(lost, bar)
                stop = threading.Event()
                exporter = Exporter(
                    opened,
                    workspace,
                    jobs=jobs,
                    overwrite=overwrite,
                    checksum=checksum,
                    moved=bar.moved,
                    finished=lambda outcome: _say_failures([outcome], bar),
                    direct=_Direct(items, stop).open,
                    stop=stop,
                )
                with credits_shown(sources, bar.note):
                    outcomes = [*lost, *exporter.run(items)]
    except OSError as error:
        raise SettingsError(
            f"cannot write to {destination}: {error.strerror}; "
            "choose a folder that you can write to, with enough room"
        ) from None
    _report(outcomes, destination, as_json, time.monotonic() - started_s)


def _say_other_sources(sources: Sequence[str]) -> None:
    """Say which sources are in no mount: where one is missing, its folder may hold other files."""
    others = [source for source in sources if mount_of(source) is None]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        say(
            f"backlotfs: note: {printable(others[0])}{more}: in no mount of backlotfs, copied as "
            "any folder; to see the mounts: backlotfs status",
            err=True,
        )


class _Direct:
    """Opens items that are in mounts of this user for reading without the kernel."""

    def __init__(self, items: Sequence[Item], stop: threading.Event) -> None:
        # imported here, because only an export that copies needs the parts of a mount
        from backlotfs.mount.direct import DirectReader

        self._reader = DirectReader(ROOM_BYTES, stop.is_set)
        self._items = items
        self._numbers = {item.name: number for number, item in enumerate(items)}
        self._folders: dict[str, MountedFile | None] = {}

    def open(self, item: Item) -> DirectSource | None:
        """Open an item; None: it is to be read by its path."""
        place = self._place_of(item)
        if place is None:
            return None
        first = self._numbers[item.name] + 1
        following = (self._place_of(other) for other in self._items[first : first + _AT_ONCE])
        names = (  # lazy: mostly the mount was asked already
            other.name_in_mount for other in following if other and other.place == place.place
        )
        opened = self._reader.open(place.place, place.name_in_mount, names)
        if opened is None:
            return None
        return DirectSource(Version(opened.size_bytes, opened.mtime_s * 10**9), opened.pieces)

    def _place_of(self, item: Item) -> MountedFile | None:
        folder, name = os.path.split(item.source)
        if folder not in self._folders:
            try:
                self._folders[folder] = mounted_paths([Path(folder or ".")])[0]
            except SettingsError:  # it is in no mount
                self._folders[folder] = None
        found = self._folders[folder]
        return found and MountedFile(found.place, os.path.join(found.inner, name))


def find_files(sources: Sequence[str], as_json: bool) -> tuple[list[Item], list[Problem]]:
    """Find the items as `find_items` does; show what the mount waits for, unless ``as_json``.

    A folder in which the mount hides files is a problem, because the copy would be incomplete.
    A mount never hides files from this program, unless a container hides the program's name.

    :raises NothingThere: there is neither a file nor a problem in ``sources``.
    """
    with (
        TransferBar("looking", 0, wanted=not as_json) as bar,
        credits_shown(sources, bar.note),
    ):
        items, problems = find_items(sources, time.sleep)
    if not items and not problems:
        raise NothingThere(
            f"there is no file in {', '.join(sources)}; is it mounted? see: backlotfs status"
        )
    problems += [Problem(item.name, _NOT_ALL_LISTED) for item in items if _is_notice(item)]
    return [item for item in items if not _is_notice(item)], problems


def _is_notice(item: Item) -> bool:
    """Whether the file is the notice of a mount that its folder holds more files than it lists."""
    name = os.path.basename(item.name)
    return Notice.is_name(name) and item.size_bytes == len(Notice(name, 0).text)


def _plan(items: Sequence[Item], path: Path, overwrite: bool) -> list[Outcome]:
    """Plan the copies and create nothing.

    :raises SettingsError: the manifest is damaged. :raises OSError: DEST cannot be opened.
    """
    try:
        opened = Destination.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return planned(items, None, Records({}, {}), overwrite=overwrite)
    with opened:
        records, _ = read_all_records(opened)
        return planned(items, opened, records, overwrite=overwrite)


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
            f"{in_words(needed)} must be copied, {destination.path} has room for "
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
    """The line on stderr for a file with a problem."""
    return f"backlotfs: {printable(problem.name)}: {problem.reason}"


def _report(outcomes: Sequence[Outcome], destination: Path, as_json: bool, took_s: float) -> None:
    """Print the result. :raises ExportIncomplete: a file failed."""
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
            say(f"check them at any time: backlotfs verify {destination}")
    if by_state[State.FAILED]:
        raise ExportIncomplete(
            f"{len(by_state[State.FAILED])} of {len(outcomes)} files failed; each is named above; "
            "run the same command again to continue"
        )


@click.command()
@click.argument("destination", type=click.Path(path_type=Path), metavar="DEST")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SRC",
    help="Also check that all files of SRC, as given to `export`, are there with their sizes …",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="Files in parallel [4].")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def verify(destination: Path, sources: tuple[str, ...], jobs: int, as_json: bool) -> None:
    """Check every file in DEST against the manifest that `export` wrote there.

    Symbolic links in DEST are never followed. Files that are not in the manifest are named, but
    are no error.
    """
    try:
        opened = Destination.open(destination)
    except OSError as error:
        raise SettingsError(
            f"{destination} cannot be opened: {error.strerror}; name the DEST of an export"
        ) from None
    with opened:
        _verify(opened, sources, jobs, as_json)


def _verify(destination: Destination, sources: Sequence[str], jobs: int, as_json: bool) -> None:
    """:raises SettingsError: there is no manifest. :raises CopyDiffers: a file is wrong."""
    records, unfinished = read_all_records(destination)
    entries = records.digests
    if not entries:
        raise SettingsError(
            f"there is no {MANIFEST} in {destination.path}; name the DEST of an export"
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
        raise CopyDiffers(f"{len(problems)} files differ; each is named above")


def _say_strangers(unknown: list[str], unfinished: int | None) -> None:
    for name in unknown[:_STRANGERS_SHOWN]:
        say(f"not in the manifest: {printable(name)}")
    if len(unknown) > _STRANGERS_SHOWN:
        say(f"not in the manifest: {len(unknown) - _STRANGERS_SHOWN} more")
    if unfinished is None:
        say(f"{WORKSPACE} belongs to another user, whose export may be unfinished")
    elif unfinished:
        say(f"{unfinished} files are partly exported; run the export again")


def _size_of(destination: Destination, name: str) -> int:
    try:
        found = destination.look(name)
    except (UnsafeDestination, OSError):
        return 0
    return 0 if found is None else found.st_size
