# SPDX-License-Identifier: Apache-2.0
"""Takes over changes of the media folder while the emulator runs.

A thread waits for changes of the folder, reads it again and changes the library. A new file appears
when it has not been written to for two seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

from watchfiles import watch

from backlotfs.emulator.folder_library import FolderLibrary, read_folder
from backlotfs.emulator.library import Library

_STEP_MS = 200  # after this time without a further change, the changes are taken over
_DEBOUNCE_MS = 5000  # after this time they are taken over in any case
_AGAIN_MS = 1000  # time until files that are being written are checked again


@contextlib.contextmanager
def following(library: Library, found: FolderLibrary, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, take over changes of the media folder of ``found`` into ``library``.

    :param say: called from a thread with a line of text when reading fails with a new error.
    """
    ended = Event()
    thread = Thread(target=_follow, args=(library, found, say, ended), name="media", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(
    library: Library, found: FolderLibrary, say: Callable[[str], None], ended: Event
) -> None:
    folder = found.folder.path
    complaint = ""
    try:
        for changed in _changes(folder, ended):
            if not (changed or found.waiting):
                continue
            try:
                again = read_folder(folder, before=found)
            except ValueError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    say(f"the library stays as it was: {complaint}")
                continue
            complaint = ""
            library.follow(found, again)
            found = again
    except OSError as error:  # most likely the system's limit of watches is reached
        say(f"changes of {folder} are seen at the next start only: {error}")


def _changes(folder: Path, ended: Event) -> Iterator[bool]:
    """At least once a second, yield whether the folder may have changed.

    :raises OSError: the folder cannot be watched.
    """
    while not ended.is_set():
        # read at the start too, for changes between the last reading and the first watch
        is_first = True
        try:
            for changes in watch(
                folder,
                watch_filter=lambda _change, path: _is_served(folder, path),
                step=_STEP_MS,
                debounce=_DEBOUNCE_MS,
                rust_timeout=_AGAIN_MS,
                yield_on_timeout=True,
                stop_event=ended,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                yield bool(changes) or is_first
                is_first = False
        except RuntimeError:  # watchfiles cannot decode the name of a file: watch again
            ended.wait(_AGAIN_MS / 1000)
            yield True


def _is_served(folder: Path, path: str) -> bool:
    try:
        parts = Path(path).relative_to(folder).parts
    except ValueError:  # a link leads outside of the folder
        return True
    return not any(part.startswith(".") for part in parts)
