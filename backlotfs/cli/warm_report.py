"""What ``warm`` and ``pin`` show: a bar while they fetch, and the result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from backlotfs.cli.mounted_files import mounted_files
from backlotfs.cli.transfer_bar import TransferBar
from backlotfs.cli.warm_run import Warmed, WarmRun
from backlotfs.errors import BacklotError
from backlotfs.export.items import printable
from backlotfs.log.terminal import in_words, say, say_json

#: What is said of files that are held, or not, by the command.
_DONE = {"warm": "on the disk", "pin": "pinned"}
_NOT_DONE = {"warm": "warm", "pin": "held whole"}


class NotAllWarm(BacklotError):
    """Some files are not held whole; exits as the first of them would."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # per instance: it is the first error's


def look(paths: Iterable[Path], jobs: int, *, wanted: bool) -> list[Warmed]:
    """What is known of the files that are named, and of all below the folders that are.

    :raises BacklotError: see `mounted_files`; what fails for one file is said, and kept with it.
    """
    files = mounted_files(paths)
    with TransferBar("looking", 0, wanted=wanted) as bar:
        run = WarmRun(
            jobs, moved=bar.moved, failed=lambda warmed: say_failed(bar, warmed), waits=bar.note
        )
        return run.look(files)


def fetch(files: Sequence[Warmed], jobs: int, command: str, *, wanted: bool) -> None:
    """Fetch what they lack, with a bar if it is ``wanted``."""
    total_bytes = sum(warmed.size for warmed in files if warmed.held < warmed.size)
    with TransferBar(command, total_bytes, wanted=wanted) as bar:
        WarmRun(
            jobs, moved=bar.moved, failed=lambda warmed: say_failed(bar, warmed), waits=bar.note
        ).warm(files)


def say_failed(bar: TransferBar, warmed: Warmed) -> None:
    """A line of its own, above the bar."""
    bar.say(f"backlotfs: {printable(str(warmed.file))}: {warmed.error}")


def report(files: Sequence[Warmed], command: str, as_json: bool, took_s: float) -> None:
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
                    "pinned": warmed.pinned,
                    "error": None if warmed.error is None else str(warmed.error),
                }
                for warmed in files
            ],
            "held_bytes": held,
            "fetched_bytes": fetched,
            "failed": len(failed),
            "seconds": round(took_s, 3),
        }
        say_json(summary)
    else:
        say(
            f"{len(files) - len(failed)} files, {in_words(held)}, are {_DONE[command]}; "
            f"{in_words(fetched)} fetched for it"
        )
    if failed:
        code = failed[0].error.exit_code if failed[0].error is not None else 1
        raise NotAllWarm(
            f"{len(failed)} of {len(files)} files are not {_NOT_DONE[command]}, each is named "
            "above; run the same command again: what is held stays",
            code,
        )
