"""``library.json``: what a folder of media cannot say by itself.

::

    {"labels": [{"name": "Sports", "children": [{"name": "Racing", "key": "racing"}]}],
     "assets": [
       {"file": "harbour.mov", "title": "Harbour, take 2", "labels": ["/Sports/Racing"]},
       {"file": "harbour.mov", "original_file_name": null},
       {"synthetic": "100G", "original_file_name": "long.mov", "status": "paused"},
       {"title": "No source", "labels": ["racing"]}]}

The first entry of a file describes it; each further one is another asset with the same bytes.
``synthetic`` makes bytes up, in a size like ``5000000``, ``5M``, ``100G``. An entry with neither
is an asset without a source. Files that no entry names stay as they are, unless
``"only_listed": true`` stands beside ``assets``. Other fields of an entry: ``embed_code``,
``title``, ``description``, ``original_file_name``, ``asset_type``, ``status``, ``duration_ms``,
``created_at`` (ISO or seconds), ``external_id``, ``metadata``, ``reported_size``,
``url_withheld``, ``source_position``, ``extras``.
Labels are named by ``key``, by ``id`` or by full path; equal names side by side are legal.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backlotfs.emulator.records import (
    EmulatedAsset,
    EmulatedLabel,
    stable_embed_code,
    stable_label_id,
)
from backlotfs.emulator.synthetic import SyntheticContent, seed_of

LIBRARY_FILE = "library.json"

_FIELDS = frozenset(
    {
        *("embed_code", "title", "description", "original_file_name", "asset_type", "status"),
        *("duration_ms", "created_at", "external_id", "metadata", "reported_size"),
        *("url_withheld", "source_position", "extras"),
    }
)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_size(text: str | int) -> int:
    """Bytes: ``5000000``, ``"5M"``, ``"100G"`` (powers of 1024).

    :raises ValueError: when it is not a size.
    """
    matched = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    if matched is None:
        raise ValueError(f"{text!r} is not a size like 5M or 100G")
    return int(matched[1]) * _UNITS[matched[2].upper()]


def read_library_file(
    path: Path, files: Mapping[str, EmulatedAsset]
) -> tuple[list[EmulatedAsset], list[EmulatedLabel]]:
    """The library that ``path`` makes of ``files`` (by their path below the folder).

    :raises ValueError: when it cannot be understood; one sentence that names the place.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        labels = _Labels(document.get("labels", []))
        assets, described = [], set()
        for index, entry in enumerate(document.get("assets", [])):
            name = entry.get("file")
            assets.append(_asset(index, entry, files, labels, again=name in described))
            described.add(name)
        if not document.get("only_listed", False):
            assets += [asset for name, asset in files.items() if name not in described]
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    return assets, labels.all


class _Labels:
    def __init__(self, tree: list[dict[str, Any]]) -> None:
        self.all: list[EmulatedLabel] = []
        self._by_reference: dict[str, str] = {}
        self._grow(tree, None, "")

    def _grow(self, tree: list[dict[str, Any]], parent_id: str | None, above: str) -> None:
        for entry in tree:
            full_name = f"{above}/{entry['name']}"
            # the position takes part: equal names side by side are different labels
            label_id = entry.get("id") or stable_label_id(f"{full_name}#{len(self.all)}")
            self.all.append(EmulatedLabel(label_id, entry["name"], parent_id))
            for reference in (entry.get("key"), label_id, full_name):
                if reference is not None:
                    self._by_reference.setdefault(reference, label_id)
            self._grow(entry.get("children", []), label_id, full_name)

    def ids(self, references: list[str]) -> tuple[str, ...]:
        unknown = [one for one in references if one not in self._by_reference]
        if unknown:
            raise ValueError(f"there is no label {unknown[0]!r}")
        return tuple(self._by_reference[one] for one in references)


def _asset(
    index: int,
    entry: Mapping[str, Any],
    files: Mapping[str, EmulatedAsset],
    labels: _Labels,
    *,
    again: bool,
) -> EmulatedAsset:
    unknown = sorted(set(entry) - _FIELDS - {"file", "synthetic", "labels"})
    if unknown:
        raise ValueError(f"assets[{index}] has unknown fields: {', '.join(unknown)}")
    own_code = stable_embed_code(f"entry:{index}:{entry.get('file') or entry.get('title')}")
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
    fields = {name: entry[name] for name in _FIELDS if name in entry}
    if "created_at" in fields:
        fields["created_at"] = _seconds(fields["created_at"])
    return replace(base, label_ids=labels.ids(entry.get("labels", [])), **fields)


def _seconds(value: Any) -> int:
    if isinstance(value, int):
        return value
    moment = datetime.datetime.fromisoformat(value)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
