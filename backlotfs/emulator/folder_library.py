# SPDX-License-Identifier: Apache-2.0
"""A folder of media as a library, and the ``library.json`` that may describe it.

Every regular file below the folder is an asset, down to 64 levels of folders. Name, size and date
come from the file; the type comes from its extension; the label comes from its folder. The embed
code comes from the path below the media folder, so it is the same after each start. Hidden files
and files named ``library.json`` are left out, and links too, unless they are followed. Bytes, size
and date are read from the file for each request.

``library.json`` adds what the files themselves do not contain; docs/library-json.md describes it.
"""

from __future__ import annotations

import json
import mimetypes
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backlotfs.emulator.assets import (
    EmulatedAsset,
    EmulatedLabel,
    FileContent,
    SyntheticContent,
    modified_at,
    seed_of,
    stable_embed_code,
    stable_label_id,
)
from backlotfs.emulator.media_folder import FolderScan, MediaFolder
from backlotfs.emulator.numbers_and_dates import FIRST_SECOND, LAST_SECOND, moment_of, whole_number

LIBRARY_FILE = "library.json"
LARGEST_OBJECT = 2**60
"""Size of the largest synthetic object: 1 EiB."""

_MOST_BYTES = 256 * 2**20  # of a library.json; about a million entries
_MOST_LABEL_LEVELS = 100
_MOST_MS = 10**15
_SETTLED_S = 2.0  # a file that was not written to for this time counts as complete
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


@dataclass(frozen=True, slots=True)
class FolderLibrary:
    """The content of a folder of media.

    :ivar scan: the files of the folder, and what is left out.
    :ivar created: when each file was created, by path: its date when it was first seen.
    :ivar waiting: paths of new files that were written to in the last two seconds.
    :ivar gone: paths of files that were there in an earlier reading; ``library.json`` may still
        name them.
    """

    assets: list[EmulatedAsset]
    labels: list[EmulatedLabel]
    folder: MediaFolder
    scan: FolderScan
    created: Mapping[str, int]
    waiting: Collection[str]
    gone: Collection[str]

    def touched(self, after: FolderLibrary) -> set[str]:
        """Embed codes of assets whose file is another in ``after``, but without a later date."""
        before, now = self.scan.files, after.scan.files
        return {
            asset.embed_code
            for asset in after.assets
            if isinstance(asset.content, FileContent)
            and (name := asset.content.path.relative_to(self.folder.path).as_posix()) in before
            and name in now
            and _identity(before[name]) != _identity(now[name])
            and modified_at(now[name]) <= modified_at(before[name])
        }


def read_folder(
    path: Path,
    *,
    follow_links: bool = False,
    before: FolderLibrary | None = None,
) -> FolderLibrary:
    """The assets and labels of the folder at ``path``.

    :param follow_links: also serve the targets of links, inside and outside of the folder.
    :param before: the result of an earlier call for this folder. Dates of creation stay, and new
        files are left out while they are being written.
    :raises ValueError: the folder cannot be read, or its ``library.json`` is wrong; one sentence
        that names the place.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    try:
        folder = before.folder if before else MediaFolder(path, follow_links=follow_links)
        scan = folder.scan()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    known = before.created if before else {}
    created = {name: known.get(name, modified_at(one)) for name, one in scan.files.items()}
    waiting = _being_written(scan, before) if before else frozenset()
    gone = {*before.gone, *before.scan.files} - scan.files.keys() if before else set()
    files = {
        name: _file_asset(folder, name, created[name])
        for name in scan.files
        if not _is_description(name) and name not in waiting
    }
    description = path / LIBRARY_FILE
    if LIBRARY_FILE in scan.files:
        assets, labels = _described(folder, files, {*waiting, *gone})
    # a description that cannot be read is an error: it may leave out files that must not be shown
    elif description.is_symlink():
        raise ValueError(f"{description} is a link; --follow-links serves what links lead to")
    elif os.path.lexists(description) and not description.is_dir():
        raise ValueError(f"{description} is not a regular file")
    else:
        folders = _Labels([], files)
        assets = [folders.of_folder(name, asset) for name, asset in files.items()]
        labels = folders.all
    return FolderLibrary(assets, labels, folder, scan, created, waiting, gone)


def parse_size(text: str | int) -> int:
    """The bytes of a size: ``5000000``, ``"5M"``, ``"100G"`` (powers of 1024), at most 1 EiB.

    :raises ValueError: it is not a size.
    """
    shown = f"{text:d}" if isinstance(text, int) and abs(text) <= LARGEST_OBJECT else str(text)[:40]
    matched = re.fullmatch(r"([0-9]+)([KMGT]?)(?:i?B)?", shown.strip(), re.IGNORECASE)
    number = whole_number(matched[1]) if matched else None
    size = number * _UNITS[matched[2].upper()] if matched and number is not None else None
    if size is None or size > LARGEST_OBJECT:
        raise ValueError(f"{shown!r} is not a size like 5M or 100G, of 1 EiB at most")
    return size


def _is_description(name: str) -> bool:
    return name.rpartition("/")[2] == LIBRARY_FILE


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _being_written(scan: FolderScan, before: FolderLibrary) -> frozenset[str]:
    """Paths of files that are not served yet and were written to in the last two seconds."""
    now = time.time()
    return frozenset(
        name
        for name, status in scan.files.items()
        if not _is_description(name)
        and (name in before.waiting or name not in before.scan.files)
        and 0 <= now - status.st_mtime < _SETTLED_S
    )


def _file_asset(folder: MediaFolder, name: str, created_at: int) -> EmulatedAsset:
    """The asset of the file at the path ``name`` below the folder."""
    path = folder.path / name
    shown = _shown(path.name)
    kind = mimetypes.guess_type(path.name)[0] or ""
    return EmulatedAsset(
        embed_code=stable_embed_code(f"file:{name}"),
        title=Path(shown).stem or shown,
        original_file_name=shown,
        content=FileContent(path, folder=folder),
        asset_type="audio" if kind.startswith("audio/") else "video",
        created_at=created_at,
    )


def _described(
    folder: MediaFolder, files: Mapping[str, EmulatedAsset], without_asset: Collection[str]
) -> tuple[list[EmulatedAsset], list[EmulatedLabel]]:
    """The assets and labels that ``library.json`` describes, with the ``files`` of the folder.

    :param without_asset: paths of files that have no asset yet, or none any more.
    """
    path = folder.path / LIBRARY_FILE
    try:
        document: Any = json.loads(_read(folder), parse_int=_number, parse_constant=_refused)
        _refuse_unknown("it", document, TOP_FIELDS)
        entries = document.get("assets", [])
        has_folder_labels = document.get("folder_labels", True)
        labels = _Labels(document.get("labels", []), files if has_folder_labels else ())
        label_of = labels.of_folder if has_folder_labels else _without_label
        assets, described = [], set()
        for index, entry in enumerate(entries):
            name = entry.get("file")
            if name in without_asset:
                continue
            asset = _asset(index, entry, files, labels, again=name in described)
            assets.append(label_of(name, asset) if name and "labels" not in entry else asset)
            described.add(name)
        if not document.get("only_listed", False):
            rest = files.keys() - described
            assets += [label_of(name, files[name]) for name in sorted(rest)]
    except RecursionError:
        raise ValueError(f"{path} cannot be used: it is nested too deeply") from None
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    return assets, labels.all


def _without_label(_name: str, asset: EmulatedAsset) -> EmulatedAsset:
    return asset


def _read(folder: MediaFolder) -> bytes:
    with open(folder.open(LIBRARY_FILE), "rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
    return text


class _Labels:
    def __init__(self, tree: Any, files: Iterable[str]) -> None:
        """``files``: paths of files. A folder of theirs becomes a label when an asset needs it."""
        self.all: list[EmulatedLabel] = []
        self._by_reference: dict[str, str] = {}
        self._grow(tree, None, "", 1)
        self._folders: set[str] = set()
        for name in files:
            folder = _shown(name).rpartition("/")[0]
            while folder and f"/{folder}" not in self._folders:
                self._folders.add(f"/{folder}")
                folder = folder.rpartition("/")[0]

    def _grow(self, tree: Any, parent_id: str | None, above: str, level: int) -> None:
        if level > _MOST_LABEL_LEVELS:
            raise ValueError(f"labels are nested more than {_MOST_LABEL_LEVELS} levels deep")
        for entry in tree:
            name = _text("name", entry["name"])
            full_name = f"{above}/{name}"
            # the id depends on the position too: labels with equal names are different labels
            label_id = entry.get("id") or stable_label_id(f"{full_name}#{len(self.all)}")
            self.all.append(EmulatedLabel(_text("id", label_id), name, parent_id))
            for reference in (entry.get("key"), label_id, full_name):
                if reference is not None:
                    self._by_reference.setdefault(reference, label_id)
            self._grow(entry.get("children", []), label_id, full_name, level + 1)

    def of_folder(self, name: str, asset: EmulatedAsset) -> EmulatedAsset:
        """The asset of the file at the path ``name``, with the label of its folder."""
        label_id = self._at(_shown(name).split("/")[:-1])
        return asset if label_id is None else replace(asset, label_ids=(label_id,))

    def ids(self, references: list[str]) -> tuple[str, ...]:
        for one in references:
            if one not in self._by_reference and one in self._folders:
                self._at(one.split("/")[1:])
        unknown = [one for one in references if one not in self._by_reference]
        if unknown:
            raise ValueError(f"there is no label {unknown[0]!r}")
        return tuple(self._by_reference[one] for one in references)

    def _at(self, folders: Iterable[str]) -> str | None:
        """The id of the label of a folder; the label is made if needed. None: the media folder."""
        parent_id, above = None, ""
        for folder in folders:
            above = f"{above}/{folder}"
            label_id = self._by_reference.get(above)
            if label_id is None:
                label_id = self._by_reference[above] = stable_label_id(f"folder:{above}")
                self.all.append(EmulatedLabel(label_id, folder, parent_id))
            parent_id = label_id
        return parent_id


def _shown(path: str) -> str:
    """The path as valid UTF-8: other bytes become the replacement character."""
    return os.fsencode(path).decode("utf-8", "replace")


def _asset(
    index: int,
    entry: Mapping[str, Any],
    files: Mapping[str, EmulatedAsset],
    labels: _Labels,
    *,
    again: bool,
) -> EmulatedAsset:
    _refuse_unknown(f"assets[{index}]", entry, {*ASSET_FIELDS, "file", "synthetic", "labels"})
    identity = f"entry:{index}:{entry.get('file') or entry.get('title')}"
    own_code = stable_embed_code(_encodable(identity))
    if "file" in entry:
        if entry["file"] not in files:
            raise ValueError(f"assets[{index}] names {entry['file']!r}, which is not in the folder")
        base = files[entry["file"]]
        base = replace(base, embed_code=own_code) if again else base
    else:
        name = entry.get("original_file_name")
        base = EmulatedAsset(own_code, title=str(name or f"Asset {index}"))
    if "synthetic" in entry:
        size = parse_size(entry["synthetic"])
        base = replace(base, content=SyntheticContent(seed_of(own_code), size))
    fields = {name: read(name, entry[name]) for name, read in ASSET_FIELDS.items() if name in entry}
    if "labels" in entry:
        base = replace(base, label_ids=labels.ids(entry["labels"]))
    return replace(base, **fields)


def _refuse_unknown(what: str, given: Iterable[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{what} has unknown fields: {', '.join(unknown)}")


def _number(digits: str) -> int:
    number = whole_number(digits, signed=True)
    if number is None:
        raise ValueError(f"a number is too long: {digits[:20]}…")
    return number


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a text: {str(value)[:40]}")
    return _encodable(value)


def _encodable(text: str) -> str:
    """Replace single surrogates in ``text``, which JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is neither true nor false")
    return value


def _whole(least: int, most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{name} is not a whole number from {least} to {most}")
        return value

    return read


def _or_null(read: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else read(name, value)


def _moment(name: str, value: Any) -> int:
    if isinstance(value, str):
        seconds = moment_of(value)
        if seconds is None:
            raise ValueError(f"{name} is not a date")
        value = int(seconds)
    return _whole(FIRST_SECOND, LAST_SECOND)(name, value)


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not an object")
    # refuse values that no JSON answer can contain
    json.dumps(value, allow_nan=False)
    return value


TOP_FIELDS = frozenset({"assets", "labels", "only_listed", "folder_labels", "$schema"})
ASSET_FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    "embed_code": _text,
    "title": _text,
    "description": _or_null(_text),
    "original_file_name": _or_null(_text),
    "asset_type": _text,
    "status": _text,
    "duration_ms": _whole(0, _MOST_MS),
    "created_at": _moment,
    "external_id": _or_null(_text),
    "metadata": _mapping,
    "reported_size": _or_null(_whole(0, LARGEST_OBJECT)),
    "url_withheld": _flag,
    "source_position": _whole(0, 1000),
    "extras": _mapping,
}
"""The function that checks and converts the value of each field of an entry."""
