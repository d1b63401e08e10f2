# SPDX-License-Identifier: Apache-2.0
"""``backlotfs thumbnails``: write the library's preview images into the thumbnail cache."""

from __future__ import annotations

import base64
import mimetypes
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import click
import platformdirs

from backlotfs import __version__
from backlotfs.cli.mountpoints import PATHS, MountedFile, mounted_files
from backlotfs.cli.progress import TransferBar, waits_shown
from backlotfs.config.time_limits import PREVIEW_ANSWER_S
from backlotfs.errors import BacklotError, CommandFailed
from backlotfs.log.terminal import counted, printable, say, say_json
from backlotfs.mount.control.client import ask
from backlotfs.thumbnails.cache import SIZES, Original, ThumbnailCache
from backlotfs.thumbnails.picture import Picture, check_installed

JOBS = 4
#: The sizes that file managers usually use. They use `xx-large` only on very fine screens.
_USUAL = ("normal", "large", "x-large")


class Outcome(StrEnum):
    """What was done for a file; the value is the key in ``--json``."""

    MADE = "made"
    CURRENT = "current"
    WITHOUT = "without_preview"
    FAILED = "failed"


@click.command()
@PATHS
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.Choice(list(SIZES)),
    help="Thumbnail size, may be repeated [normal, large, x-large].",
)
@click.option("--again", is_flag=True, help="Replace thumbnails that are up to date, too.")
@click.option(
    "--jobs", type=click.IntRange(1, 32), default=JOBS, help=f"Files in parallel [{JOBS}]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def thumbnails(
    paths: tuple[Path, ...], sizes: tuple[str, ...], again: bool, jobs: int, as_json: bool
) -> None:
    """Fill your thumbnail cache for files, or all files below folders, of a running mount.

    The thumbnails are made from the library's preview images, so file managers read no source.
    Thumbnails that are up to date are kept: run the same command again after an upload.
    """
    check_installed()
    began_s = time.monotonic()
    cache = ThumbnailCache(
        Path(platformdirs.user_cache_dir()) / "thumbnails",
        sizes or _USUAL,
        software=f"backlotfs {__version__}",
    )
    files = mounted_files(paths)
    with (
        TransferBar("thumbnails", len(files), of_files=True) as bar,
        waits_shown({str(file.place) for file in files}, bar.note),
    ):

        def one(file: MountedFile) -> tuple[Outcome, BacklotError | None]:
            try:
                return _thumbnail(file, cache, again=again), None
            except BacklotError as error:
                bar.say(f"backlotfs: {printable(str(file))}: {error}")
                return Outcome.FAILED, error
            finally:
                bar.moved(1)

        done = _all(files, one, jobs)
    _report(done, as_json, time.monotonic() - began_s)


def _all(
    files: Sequence[MountedFile],
    one: Callable[[MountedFile], tuple[Outcome, BacklotError | None]],
    jobs: int,
) -> list[tuple[Outcome, BacklotError | None]]:
    pool = ThreadPoolExecutor(jobs)
    try:
        return list(pool.map(one, files))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C no further file is started


def _thumbnail(file: MountedFile, cache: ThumbnailCache, *, again: bool) -> Outcome:
    path = str(file)
    try:
        status = os.stat(path)
    except OSError as error:
        raise BacklotError(f"{error.strerror}; see: stat {path}") from None
    mime_type, _ = mimetypes.guess_type(path)
    original = Original(path, int(status.st_mtime), status.st_size, mime_type)
    if not again and cache.holds(original):
        return Outcome.CURRENT
    answer = ask(file.place, "preview", timeout_s=PREVIEW_ANSWER_S, path=file.name_in_mount)
    if answer["image"] is None:
        return Outcome.WITHOUT
    try:
        image = base64.b64decode(answer["image"], validate=True)
    except ValueError:
        raise BacklotError(
            f"{path}: the mount sent no image; it may be of another version"
        ) from None
    cache.keep(original, Picture(image))
    return Outcome.MADE


def _report(
    done: Sequence[tuple[Outcome, BacklotError | None]], as_json: bool, took_s: float
) -> None:
    """Print the result. :raises CommandFailed: a file failed; with the first file's exit code."""
    counts = Counter(outcome for outcome, _ in done)
    if as_json:
        summary = {outcome.value: counts[outcome] for outcome in Outcome}
        say_json({"files": len(done), **summary, "seconds": round(took_s, 3)})
    else:
        say(
            f"{counts[Outcome.MADE]} made, {counts[Outcome.CURRENT]} up to date, "
            f"{counts[Outcome.WITHOUT]} without a preview image"
        )
    errors = [error for _, error in done if error is not None]
    if errors:
        raise CommandFailed(
            f"{len(errors)} of {counted(len(done), 'file')} without a thumbnail; each is named "
            "above; run the same command again to continue",
            errors[0].exit_code,
        )
