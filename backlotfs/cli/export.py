# SPDX-License-Identifier: Apache-2.0
"""``backlotfs export`` and ``backlotfs verify``: copies of files, checked against their sources."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import click

from backlotfs.cli.account_options import api_share_option
from backlotfs.cli.cluster_export import (
    SCHEME,
    ClusterOptions,
    check_packages,
    export_on_cluster,
    folder_of,
)
from backlotfs.cli.export_report import problem_line, report, say_failures, stopped_line
from backlotfs.cli.mountpoints import MountedFile, mount_of, mounted_paths
from backlotfs.cli.param_types import FolderOrUrl
from backlotfs.cli.progress import TransferBar, sizes_wait, waits_shown
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.export.destination import (
    MANIFEST,
    WORKSPACE,
    Destination,
    UnsafeDestination,
    Workspace,
)
from backlotfs.export.exporter import ROOM_BYTES, Exporter, Outcome, State, planned, settled
from backlotfs.export.file_copy import (
    DirectSource,
    Version,
    discard_renamed,
    resumable_bytes,
    written_bytes,
)
from backlotfs.export.items import Item, Problem, find_items, kept_apart
from backlotfs.export.manifest import Records, read_records
from backlotfs.export.verifying import (
    MISSING,
    NEVER_EXPORTED,
    Check,
    check_files,
    check_in,
    read_all_records,
    strangers,
)
from backlotfs.kernel.mount_table import missing_mount
from backlotfs.log.terminal import counted, in_words, printable, say, say_json
from backlotfs.namespace.incomplete_notice import Notice

_NOT_ALL_LISTED = (
    "the mount hides files of unknown size (--unsized hide) and does not know this program; "
    "run this again when backlotfs status says: sizes all known"
)


#: The most further files that one question to a mount asks for.
_AT_ONCE = 64
#: How many files outside the manifest are named; the others are counted.
_STRANGERS_SHOWN = 10


class NothingThere(BacklotError):
    """The sources hold no file. It is an error, because most likely the library is not mounted."""


class CopyDiffers(BacklotError):
    """A copy differs from its manifest or its sources; a line before named each file."""


@click.command()
@click.argument("sources", nargs=-1, metavar="SRC…")
@click.argument("destination", type=FolderOrUrl(), metavar="DEST")
@click.option("--scheduler", metavar="ADDRESS", help="Scheduler of a Dask cluster that copies …")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Processes on this machine that copy, instead of a cluster.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=32, help="Most files in parallel [32]."
)
@api_share_option
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
    destination: Path | str,
    scheduler: str | None,
    workers: int | None,
    jobs: int,
    api_share: str | None,
    dry_run: bool,
    overwrite: bool,
    checksum: bool,
    as_json: bool,
) -> None:
    """Copy files and folders SRC of a mount into the folder DEST, verified, with a manifest.

    SRC may also be backlot://PROFILE/PATH, a path in a library without a mount. Then the workers
    of a Dask cluster copy, and DEST is a folder that they share or a URL of fsspec (s3://…).

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
    if not sources:
        raise click.UsageError(
            "SRC or DEST is missing; write both: backlotfs export ~/library/ ~/archive"
        )
    if any(source.startswith(SCHEME) for source in sources):
        options = ClusterOptions(
            scheduler, workers, jobs, api_share, dry_run, overwrite, checksum, as_json
        )
        export_on_cluster(sources, str(destination), options)
        return
    if scheduler is not None or workers is not None:
        raise SettingsError(
            "--scheduler and --workers export from a library; name it as backlot://PROFILE/PATH"
        )
    if api_share is not None:
        raise SettingsError(
            "--api-share is for exports from backlot://PROFILE/PATH; a mount has a share of its "
            "own: backlotfs mount --api-share"
        )
    if isinstance(destination, str):
        raise SettingsError(
            f"a mount is exported into a folder; to {destination} export backlot://PROFILE/PATH "
            "with --workers or --scheduler"
        )
    _say_other_sources(sources)
    _say_missing_mount(destination)
    started_s = time.monotonic()
    try:
        items, problems = find_files(sources, as_json)
    except KeyboardInterrupt:
        say("backlotfs: stopped: nothing is copied yet; run the same command again", err=True)
        raise
    lost = _lost(problems, can_pass=True)
    try:
        if dry_run:
            plan = _plan(items, destination, overwrite)
            say_failures([*lost, *plan])
            report([*lost, *plan], str(destination), as_json, 0.0)
            return
        with Destination.open(destination, make=True) as opened, opened.claim() as workspace:
            records = read_records(opened, workspace)
            if workspace.folds_case():
                items, clashing = kept_apart(
                    items, records.digests, lambda name: opened.look(name) is not None
                )
                lost += _lost(clashing, can_pass=False)
            before = [settled(item, opened, records, overwrite=overwrite) for item in items]
            to_copy = [item for item, one in zip(items, before, strict=True) if not one.outcome]
            _check_room(opened, workspace, to_copy)
            total_bytes = sum(
                item.size_bytes
                for item, one in zip(items, before, strict=True)
                if one.reads_source(checksum=checksum)
            )
            complete: list[str] = []
            of_files = len(items) + len(lost)

            def finished(outcome: Outcome) -> None:
                if outcome.state is not State.FAILED:
                    complete.append(outcome.name)
                say_failures([outcome], bar)

            with TransferBar("export", total_bytes, wanted=not as_json and total_bytes > 0) as bar:
                _say_continued(workspace, to_copy, bar)
                say_failures(lost, bar)
                stop = threading.Event()
                exporter = Exporter(
                    opened,
                    workspace,
                    jobs=jobs,
                    overwrite=overwrite,
                    checksum=checksum,
                    moved=bar.moved,
                    finished=finished,
                    direct=_Direct(items, stop).open,
                    stop=stop,
                )

                def progress() -> dict[str, int]:
                    counts = {"files": len(complete), "of_files": of_files, "bytes": bar.done}
                    return {"pid": os.getpid(), **counts}

                try:
                    with waits_shown(sources, bar.note, export=progress):
                        outcomes = [*lost, *exporter.run(items)]
                except KeyboardInterrupt:
                    bar.say_last(stopped_line(len(complete), of_files))
                    raise
                if len(complete) == of_files:
                    bar.fill()
            if all(outcome.state is not State.FAILED for outcome in outcomes):
                discard_renamed(workspace, items)
    except OSError as error:
        raise SettingsError(
            f"cannot write to {destination}: {error.strerror}; is its disk mounted? "
            "Choose a folder that you can write to, with enough room"
        ) from None
    report(outcomes, str(destination), as_json, time.monotonic() - started_s)


def _say_other_sources(sources: Sequence[str]) -> None:
    """Say which sources are in no mount. If a mount is missing, its folder may hold other files."""
    others = [one for one in sources if mount_of(one) is None and not _is_missing(one)]
    if others:
        say(
            f"backlotfs: note: {_first(others)}: in no mount of backlotfs, copied as "
            "any folder; to see the mounts: backlotfs status",
            err=True,
        )


def _say_missing_mount(destination: Path) -> None:
    """Say so if the disk of DEST is not mounted: the copy would fill the disk below."""
    place = missing_mount(Path(os.path.realpath(destination)))
    if place is not None:
        say(
            f"backlotfs: note: {printable(str(place))}: /etc/fstab names a disk for it, but it is "
            "not mounted; the copy goes to the disk below",
            err=True,
        )


def _first(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return printable(sources[0]) + more


def _is_missing(source: str) -> bool:
    """Whether there is nothing at a path. Any other error, as of a broken mount, gives False."""
    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


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
        """Open an item; None: the item has to be read through the kernel, by its path."""
        place = self._place_of(item)
        if place is None:
            return None
        first = self._numbers[item.name] + 1
        following = (self._place_of(other) for other in self._items[first : first + _AT_ONCE])
        names = (  # a generator, because the mount has answered for most items before
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
            except SettingsError:  # the folder is in no mount
                self._folders[folder] = None
        found = self._folders[folder]
        return found and MountedFile(found.place, os.path.join(found.inner, name))


def find_files(sources: Sequence[str], as_json: bool) -> tuple[list[Item], list[Problem]]:
    """Find the items as `find_items` does; show what the mount waits for, unless ``as_json``.

    A folder in which the mount hides files is a problem, because the copy would be incomplete.
    A mount never hides files from this program, unless a container hides the program's name.

    :raises NothingThere: no source exists, or there is neither a file nor a problem in them.
    """
    if any(source.startswith(SCHEME) for source in sources):
        raise SettingsError(
            f"--source takes files and folders of a mount, not {SCHEME}…; mount the library first: "
            "backlotfs mount MOUNTPOINT"
        )
    if all(map(_is_missing, sources)):
        raise NothingThere(
            f"there is no file or folder {_first(sources)}; correct the path, or mount the library "
            "first (to see the mounts: backlotfs status)"
        )
    with (
        TransferBar("looking for files …", None, wanted=not as_json) as bar,
        waits_shown(sources, bar.note, sizes_wait),
    ):
        items, problems = find_items(sources, time.sleep)
    if not items and not problems:
        raise NothingThere(
            f"there is no file in {', '.join(sources)}; is it mounted? see: backlotfs status"
        )
    problems += [Problem(item.name, _NOT_ALL_LISTED) for item in items if _is_notice(item)]
    return [item for item in items if not _is_notice(item)], problems


def _is_notice(item: Item) -> bool:
    """Whether the item is the notice by which a mount says that it hides files of the folder."""
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


def _lost(problems: Sequence[Problem], *, can_pass: bool) -> list[Outcome]:
    return [
        Outcome(one.name, State.FAILED, 0, reason=one.reason, can_pass=can_pass) for one in problems
    ]


def _say_continued(workspace: Workspace, to_copy: Sequence[Item], bar: TransferBar) -> None:
    """Say how many bytes of unfinished files an earlier export has copied already."""
    left = [size for item in to_copy if (size := resumable_bytes(workspace, item))]
    if left:
        bar.say(
            f"backlotfs: continued: {in_words(sum(left))} of "
            f"{counted(len(left), 'unfinished file')} already there"
        )


def _check_room(destination: Destination, workspace: Workspace, to_copy: Sequence[Item]) -> None:
    needed = sum(
        item.size_bytes - min(item.size_bytes, written_bytes(workspace, item.name))
        for item in to_copy
    )
    free = shutil.disk_usage(destination.descriptor).free
    if needed > free:
        raise SettingsError(
            f"{in_words(needed)} must be copied, {destination.path} has room for "
            f"{in_words(free)}; make room, or export less"
        )


@click.command()
@click.argument("destination", type=FolderOrUrl(), metavar="DEST")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SRC",
    help="Also check that all files of SRC, as given to `export`, are there with their sizes …",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="Files in parallel [4].")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def verify(destination: Path | str, sources: tuple[str, ...], jobs: int, as_json: bool) -> None:
    """Check every file in DEST against the manifest that `export` wrote there.

    DEST is a folder, or a URL of fsspec (s3://…) to which an export on a cluster has written.
    Symbolic links in DEST are never followed. Files that are not in the manifest are named, but
    are no error.
    """
    folder = folder_of(str(destination))
    if folder is None:
        _verify(_copy_in_store(str(destination)), sources, jobs, as_json)
        return
    try:
        opened = Destination.open(folder)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be opened: {error.strerror}; is its disk mounted? "
            "Name the DEST of an export"
        ) from None
    with opened:
        _verify(_copy_in_folder(opened), sources, jobs, as_json)


class _Copy(NamedTuple):
    """What is verified: a folder, or the objects of a store.

    :ivar place: the folder or URL. :ivar entries: the entries of the manifest: name to digest.
    :ivar size_bytes: the size of these files. :ivar check: checks one file.
    :ivar strangers: finds the files that are not in the manifest.
    :ivar unfinished: the number of files that are partly exported; None: it is not known.
    :ivar incomplete: text about an unfinished export of this user; empty: there is none.
    :ivar note: a line about an export of another user that may be unfinished; empty: there is none.
    """

    place: str
    entries: Mapping[str, str]
    size_bytes: int
    check: Check
    strangers: Callable[[], list[str]]
    unfinished: int | None
    incomplete: str
    note: str


def _copy_in_folder(destination: Destination) -> _Copy:
    """:raises SettingsError: the manifest is damaged."""
    records, left = read_all_records(destination)
    entries = records.digests
    incomplete, note = "", ""
    if left is None and not _is_own_workspace(destination):
        note = f"{WORKSPACE} belongs to another user, whose export may be unfinished"
    elif left is not None and left.parts:
        incomplete = _partly(left.parts)
    elif left is None or left.was_killed:
        incomplete = "an export into this folder is unfinished"
    return _Copy(
        str(destination.path),
        entries,
        sum(_size_of(destination, name) for name in entries),
        check_in(destination, entries),
        lambda: strangers(destination, entries),
        left.parts if left else None,
        incomplete,
        note,
    )


def _copy_in_store(url: str) -> _Copy:
    """:raises SettingsError: the manifest is damaged, or the store cannot be read."""
    check_packages()
    from backlotfs.cluster.objects import objects_at
    from backlotfs.cluster.verifying import StoredCopy

    copy = StoredCopy(objects_at(url))
    return _Copy(
        url,
        copy.entries,
        copy.size_bytes,
        copy.check,
        copy.strangers,
        copy.unfinished,
        _partly(copy.unfinished),
        "",
    )


def _verify(copy: _Copy, sources: Sequence[str], jobs: int, as_json: bool) -> None:
    """Verify a copy and print the result.

    :raises SettingsError: there is no manifest. :raises CopyDiffers: the copy is wrong.
    """
    entries = copy.entries
    if not entries and not copy.incomplete:
        raise SettingsError(f"there is no {MANIFEST} in {copy.place}; name the DEST of an export")
    items, unread = find_files(sources, as_json) if sources else ([], [])
    problems: list[Problem] = []
    sizes = {item.name: item.size_bytes for item in items}
    with TransferBar("verify", copy.size_bytes, wanted=not as_json and copy.size_bytes > 0) as bar:
        for problem in unread:
            bar.say(problem_line(problem))
        for _, found in check_files(copy.check, entries, sizes, jobs=jobs, moved=bar.moved):
            if found is not None:
                problems.append(found)
                bar.say(problem_line(found))
    unknown = copy.strangers()
    checked = len(entries)
    if as_json:
        report = {
            "destination": copy.place,
            "checked": checked,
            "bytes": copy.size_bytes,
            "problems": [asdict(problem) for problem in [*unread, *problems]],
            "not_in_manifest": unknown,
            "unfinished": copy.unfinished,
        }
        say_json(report)
    else:
        _say_strangers(unknown)
        if copy.note:
            say(copy.note)
        if not sources:
            say("files that were never exported are not looked for; --source SRC looks for them")
    wrong = _found_wrong(problems, unread, copy.incomplete)
    if wrong:
        raise CopyDiffers(
            f"{counted(checked, 'file')} checked: {', '.join(wrong)}; "
            f"{_what_next(problems, unread, sizes)}, then verify again"
        )
    if not as_json:
        missing = ", 0 missing" if sources else ""
        say(f"{counted(checked, 'file')}, {in_words(copy.size_bytes)}, checked; 0 wrong{missing}")


def _found_wrong(
    problems: Sequence[Problem], unread: Sequence[Problem], incomplete: str
) -> list[str]:
    """The numbers of wrong files, as texts; empty if the copy is right."""
    reasons = Counter(problem.reason for problem in problems)
    missing, never = reasons[MISSING], reasons[NEVER_EXPORTED]
    counts = {
        "wrong": len(problems) - missing - never,
        "missing": missing,
        "never exported": never,
    }
    return [
        *(f"{count} {what}" for what, count in counts.items() if count),
        *([f"{counted(len(unread), 'source')} unreadable"] if unread else []),
        *([incomplete] if incomplete else []),
    ]


def _what_next(
    problems: Sequence[Problem], unread: Sequence[Problem], sources: Collection[str]
) -> str:
    """What to do about a wrong copy. The lines about single files say more about each file.

    :param sources: the names that the files of the sources should have in the copy.
    """
    reasons = Counter(problem.reason for problem in problems)
    if unread or reasons.keys() - {MISSING, NEVER_EXPORTED}:
        return "do what the lines above say"
    if sources and reasons[NEVER_EXPORTED] == len(sources):
        return "name SRC as for the export, with or without a slash at its end, or export it"
    if reasons[NEVER_EXPORTED]:
        return "run the export again, which names what it cannot copy"
    if not problems:
        return f"run the export again, or remove {WORKSPACE} there to give up what it has begun"
    return "run the export again"


def _say_strangers(unknown: list[str]) -> None:
    for name in unknown[:_STRANGERS_SHOWN]:
        say(f"not in the manifest: {printable(name)}")
    if len(unknown) > _STRANGERS_SHOWN:
        say(f"not in the manifest: {len(unknown) - _STRANGERS_SHOWN} more")


def _partly(unfinished: int) -> str:
    return f"{unfinished} partly exported" if unfinished else ""


def _is_own_workspace(destination: Destination) -> bool:
    """Whether the workspace that could not be opened belongs to this user.

    On exFAT and some shares the permissions of all folders allow everybody to write, so the
    workspace is refused although it belongs to this user.
    """
    found = destination.look(WORKSPACE)
    return found is not None and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _size_of(destination: Destination, name: str) -> int:
    try:
        found = destination.look(name)
    except (UnsafeDestination, OSError):
        return 0
    return 0 if found is None else found.st_size
