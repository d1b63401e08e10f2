"""A folder of media as a library: every regular file below it, however deep, is an asset.

Name, size and date come from the file; the type from its extension; the embed code from its path
below the folder, so that it stays the same from start to start. Hidden files and ``library.json``
are left out. Bytes, size and date are looked up when they are asked for; new files are seen at the
next start. ``library_file`` describes what a ``library.json`` may add.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path

from backlotfs.emulator.content import FileContent
from backlotfs.emulator.library_file import LIBRARY_FILE, read_library_file
from backlotfs.emulator.records import EmulatedAsset, EmulatedLabel, stable_embed_code


def read_folder(folder: Path) -> tuple[list[EmulatedAsset], list[EmulatedLabel]]:
    """The assets and labels of ``folder``.

    :raises ValueError: when it is no readable folder, or its ``library.json`` is wrong; one
        sentence that names the place.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    try:
        files = {
            path.relative_to(folder).as_posix(): file_asset(folder, path) for path in _files(folder)
        }
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error}") from error
    described = folder / LIBRARY_FILE
    if described.is_file():
        return read_library_file(described, files)
    return list(files.values()), []


def file_asset(folder: Path, path: Path) -> EmulatedAsset:
    """The asset that a file stands for.

    :raises OSError: when the file cannot be looked at.
    """
    status = path.stat()
    # a name that is not UTF-8 comes with surrogates; JSON gets the replacement character
    name = os.fsencode(path.name).decode("utf-8", "replace")
    return EmulatedAsset(
        embed_code=stable_embed_code(f"file:{path.relative_to(folder).as_posix()}"),
        title=Path(name).stem or name,
        original_file_name=name,
        content=FileContent(path),
        asset_type=_asset_type(path),
        created_at=int(status.st_mtime),
    )


def _files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or name == LIBRARY_FILE or not path.is_file():
                continue
            yield path


def _asset_type(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or ""
    return "audio" if kind.startswith("audio/") else "video"
