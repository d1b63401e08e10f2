"""A folder of media as a library: every regular file below it, however deep, is an asset.

Name, size and date come from the file; the type from its extension; the embed code from its path
below the folder, so that it stays the same from start to start. Hidden files, links and
``library.json`` are left out. Bytes, size and date are looked up when they are asked for; new files
are seen at the next start. ``library_file`` describes what a ``library.json`` may add.
"""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path

from backlotfs.emulator.content import FileContent, modified_at
from backlotfs.emulator.library_file import LIBRARY_FILE, read_library_file
from backlotfs.emulator.media_folder import MediaFolder
from backlotfs.emulator.records import EmulatedAsset, EmulatedLabel, stable_embed_code


@dataclass(frozen=True, slots=True)
class FolderLibrary:
    """What a folder of media holds, and what of it is not served.

    :ivar links: paths below the folder of links that were left out.
    :ivar too_deep: paths of folders that were left out because they are nested too deeply.
    """

    assets: list[EmulatedAsset]
    labels: list[EmulatedLabel]
    links: tuple[str, ...] = ()
    too_deep: tuple[str, ...] = ()


def read_folder(path: Path, *, follow_links: bool = False) -> FolderLibrary:
    """The assets and labels of the folder at ``path``.

    :param follow_links: also serve what links in the folder lead to, inside or outside of it.
    :raises ValueError: when it is no readable folder, or its ``library.json`` is wrong; one
        sentence that names the place.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    try:
        folder = MediaFolder(path, follow_links=follow_links)
        scan = folder.scan()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    described = scan.files.pop(LIBRARY_FILE, None)
    if described is None and os.path.lexists(path / LIBRARY_FILE):
        _refuse_other_kind(path / LIBRARY_FILE)
    files = {
        name: file_asset(folder, name, status)
        for name, status in scan.files.items()
        if name.rpartition("/")[2] != LIBRARY_FILE
    }
    if described is not None:
        assets, labels = read_library_file(folder, files)
    else:
        assets, labels = list(files.values()), []
    return FolderLibrary(assets, labels, tuple(scan.links), tuple(scan.too_deep))


def file_asset(folder: MediaFolder, name: str, status: os.stat_result) -> EmulatedAsset:
    """The asset that a file stands for.

    :param name: the path of the file below the folder.
    :param status: its status at the scan.
    """
    path = folder.path / name
    # a name that is not UTF-8 comes with surrogates; JSON gets the replacement character
    shown = os.fsencode(path.name).decode("utf-8", "replace")
    return EmulatedAsset(
        embed_code=stable_embed_code(f"file:{name}"),
        title=Path(shown).stem or shown,
        original_file_name=shown,
        content=FileContent(path, folder=folder),
        asset_type=_asset_type(path),
        created_at=modified_at(status),
    )


def _refuse_other_kind(path: Path) -> None:
    """Serving without a description that was meant to be there could show too much."""
    if path.is_symlink():
        raise ValueError(f"{path} is a link; --follow-links serves what links lead to")
    if not path.is_dir():
        raise ValueError(f"{path} is not a regular file")


def _asset_type(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or ""
    return "audio" if kind.startswith("audio/") else "video"
