# SPDX-License-Identifier: Apache-2.0
"""Layouts (``--layout``) decide which folders exist and which assets are in them. Pure.

A layout is a function that fills a `Folder` from one version of the library, and a line in
`_FILLERS`. A single layout is the root; several are top-level folders with the layouts' names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from backlotfs.api.records import Label
from backlotfs.catalog.db.table import AssetTable
from backlotfs.config.settings import LAYOUTS, NameMode
from backlotfs.errors import SettingsError
from backlotfs.namespace.naming import age_key, distinct, key, legal, portable, tag
from backlotfs.namespace.tree import ROOT_INODE, Folder, folder_inode

UNDATED = "undated"
UNLABELED = "Unlabeled"
_DAY_S = 86_400
#: A file extension is short and plain, as in `naming.fit`.
_EXTENSION = re.compile(r"[A-Za-z0-9_-]{1,16}")

#: The number of paths by inode number, for assets with more than one path.
Places = Mapping[int, int]
#: The names of a year's and a month's folder; None for assets without a date.
Month = tuple[str, str] | None


class Contents(NamedTuple):
    """The parts of one version of the library that layouts use.

    :ivar assets: the library. :ivar names: the names of the assets that have one, all different.
    :ivar inodes: the inode numbers of the same assets, in the same order.
    :ivar members: label id to the embed codes that have the label; unknown ones are ignored.
    :ivar mode: the mode of the names of ``assets``, and of labels.
    :ivar empty_labels: whether there are folders of labels without a file in or below them.
    """

    assets: AssetTable
    names: Sequence[str]
    inodes: Sequence[int]
    labels: Iterable[Label]
    members: Mapping[str, Sequence[str]]
    mode: NameMode
    empty_labels: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """One version of the tree. ``nlink``: the number of paths of assets with several paths."""

    root: Folder
    nlink: Places

    def places(self, inode: int) -> int:
        """The number of an asset's paths, for ``st_nlink``."""
        return self.nlink.get(inode, 1)


def build(
    layouts: Sequence[str],
    assets: AssetTable,
    labels: Iterable[Label],
    members: Mapping[str, Sequence[str]],
    *,
    names: NameMode,
    empty_labels: bool = True,
) -> Layout:
    """Build the tree of one version of the library; see `Contents` for the other parameters.

    The order of ``assets``, ``labels`` and ``members`` decides only the order of listings.

    :param layouts: names of `LAYOUTS`; one is the root, several are folders in the root.
    :param assets: assets without a name are left out.
    :raises SettingsError: there is no layout, or an unknown one.
    """
    chosen = tuple(dict.fromkeys(layouts))
    unknown = [name for name in chosen if name not in LAYOUTS]
    if unknown or not chosen:
        asked = f"no layout is called {unknown[0]!r}" if unknown else "no layout is asked for"
        raise SettingsError(f"{asked}: choose of {', '.join(LAYOUTS)}")

    given, inodes = assets.named()
    contents = Contents(assets, given, inodes, labels, members, names, empty_labels)
    root = Folder(ROOT_INODE, assets)
    if len(chosen) == 1:
        return Layout(root, _FILLERS[chosen[0]](root, contents))
    nlink = dict.fromkeys(inodes, len(chosen))
    for layout in chosen:
        folder = Folder(folder_inode(f"layout:{layout}"), assets)
        root.put_folder(layout, folder)
        for inode, places in _FILLERS[layout](folder, contents).items():
            nlink[inode] += places - 1
    return Layout(root, nlink)


def _fill_flat(root: Folder, contents: Contents) -> Places:
    """Fill the layout ``flat``: every asset in one folder."""
    root.put_files(contents.names, contents.inodes, contents.mode)
    return {}


def _fill_by_id(root: Folder, contents: Contents) -> Places:
    """Fill the layout ``by-id``: files are named ``<embed_code><extension>``, for scripts."""
    assets, inodes, mode = contents.assets, contents.inodes, contents.mode
    given = zip(assets.codes(inodes), contents.names, strict=True)
    names = (tag(code) + extension(name) for code, name in given)
    if mode is not NameMode.PORTABLE:
        root.entries = dict(zip(names, inodes, strict=True))
        return {}
    wanted = dict(zip(inodes, map(portable, names), strict=True))
    # embed codes may differ only in case
    taken: set[str] = set()
    for row in sorted(filter(None, map(assets.at, inodes)), key=age_key):
        name = distinct(mode, wanted[row.inode], row.embed_code, taken)
        taken.add(key(mode, name))
        root.entries[name] = row.inode
    return {}


def extension(name: str) -> str:
    """The extension with its dot; ``""`` if the name has none."""
    stem, _, last = name.rpartition(".")
    return f".{last}" if stem and _EXTENSION.fullmatch(last) else ""


def _fill_dates(root: Folder, contents: Contents) -> Places:
    """Fill the layout ``dates``: ``2013/01/`` by creation time in UTC, or ``undated/``."""
    by_month: dict[Month, list[int]] = {}
    # cached, because many assets have the same day, and to convert a day to a month is slow
    by_day: dict[int, list[int]] = {}
    assets, inodes = contents.assets, contents.inodes
    for inode, created_at_s in zip(inodes, assets.creation_times(inodes), strict=True):
        day = created_at_s // _DAY_S if created_at_s > 0 else -1
        members = by_day.get(day)
        if members is None:
            members = by_day[day] = by_month.setdefault(_month_of(day), [])
        members.append(inode)

    undated = by_month.pop(None, None)
    years: dict[str, Folder] = {}
    for month in sorted(month for month in by_month if month):
        year, number = month
        if year not in years:
            years[year] = Folder(folder_inode(f"dates:{year}"), assets)
            root.put_folder(year, years[year])
        folder = Folder(folder_inode(f"dates:{year}/{number}"), assets)
        folder.put_files(assets.names(by_month[month]), by_month[month], contents.mode)
        years[year].put_folder(number, folder)
    if undated is not None:
        folder = Folder(folder_inode(f"dates:{UNDATED}"), assets)
        folder.put_files(assets.names(undated), undated, contents.mode)
        root.put_folder(UNDATED, folder)
    return {}


def _month_of(day: int) -> Month:
    """The month of a day since the epoch; None for a negative number (no date)."""
    if day < 0:
        return None
    try:
        date = datetime.fromtimestamp(day * _DAY_S, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return None
    return f"{date.year:04}", f"{date.month:02}"


def _fill_labels(root: Folder, contents: Contents) -> Places:
    """Fill the layout ``labels``: the tree of labels, and ``Unlabeled/`` for other assets.

    An asset is in the folder of each of its labels. Empty folders are kept, so that paths that
    scripts use do not depend on the assets. If only a part of the library is shown, empty folders
    are left out.
    """
    assets, mode = contents.assets, contents.mode
    places = label_places(contents.labels, mode, reserved=[UNLABELED])
    if not contents.empty_labels:
        places = _used_places(places, contents)
    folders = {
        place.label_id: Folder(folder_inode(f"label:{place.label_id}"), assets) for place in places
    }
    for place in places:
        parent = root if place.parent_id is None else folders[place.parent_id]
        parent.put_folder(place.name, folders[place.label_id])
    by_code = dict(zip(assets.codes(contents.inodes), contents.inodes, strict=True))
    labelled: set[int] = set()
    nlink: dict[int, int] = {}
    for label_id, folder in folders.items():
        # a dict, not a set, so that listings have the same order in every process
        codes = dict.fromkeys(contents.members.get(label_id, ()))
        inodes = [by_code[code] for code in codes if code in by_code]
        folder.put_files(assets.names(inodes), inodes, mode)
        for inode in labelled.intersection(inodes):
            nlink[inode] = nlink.get(inode, 1) + 1
        labelled.update(inodes)
    others = [inode for inode in contents.inodes if inode not in labelled]
    if others or contents.empty_labels:
        unlabeled = Folder(folder_inode("labels:unlabeled"), assets)
        unlabeled.put_files(assets.names(others), others, mode)
        root.put_folder(UNLABELED, unlabeled)
    return nlink


def _used_places(places: list[LabelPlace], contents: Contents) -> list[LabelPlace]:
    """The folders with a file in or below them, with the same names as among all folders."""
    shown = set(contents.assets.codes(contents.inodes))
    parents = {place.label_id: place.parent_id for place in places}
    used: set[str] = set()
    for label_id in parents:
        if not shown.isdisjoint(contents.members.get(label_id, ())):
            at: str | None = label_id
            while at is not None and at not in used:
                used.add(at)
                at = parents[at]
    return [place for place in places if place.label_id in used]


class LabelPlace(NamedTuple):
    """The position of a label's folder.

    :ivar parent_id: id of the parent label; None at the top level.
    :ivar name: the folder's name, unique among its siblings.
    """

    label_id: str
    parent_id: str | None
    name: str


def label_places(
    labels: Iterable[Label], mode: NameMode, *, reserved: Iterable[str]
) -> list[LabelPlace]:
    """The position of each label's folder, sorted by id. Not recursive: labels may nest deeply.

    The tree is built from ``parent_id``, because a ``/`` in ``full_name`` may be part of a name. An
    unknown parent counts as none, and a cycle is cut at its smallest id, which becomes a top-level
    label. Of siblings with the same name the smallest id keeps it; the others get `` [id]``.

    :param reserved: names that no top-level label may have.
    """
    by_id: dict[str, Label] = {}
    for label in sorted(labels, key=lambda label: (label.id, label.name, label.parent_id or "")):
        by_id.setdefault(label.id, label)  # a label may be on two pages of a listing
    parents = _acyclic(
        {
            label.id: label.parent_id if label.parent_id in by_id else None
            for label in by_id.values()
        }
    )
    taken: dict[str | None, set[str]] = {None: {key(mode, name) for name in reserved}}
    places = []
    for label in by_id.values():
        siblings = taken.setdefault(parents[label.id], set())
        # a blank name is no name
        wanted = legal(mode, label.name) if label.name.strip() else ""
        name = distinct(mode, wanted or legal(mode, tag(label.id)), label.id, siblings)
        siblings.add(key(mode, name))
        places.append(LabelPlace(label.id, parents[label.id], name))
    return places


def _acyclic(parents: Mapping[str, str | None]) -> dict[str, str | None]:
    """Cut each cycle in ``parents`` at its smallest id."""
    tree = dict(parents)
    settled: set[str] = set()
    for start in parents:
        way: list[str] = []
        on_way: set[str] = set()
        at: str | None = start
        while at is not None and at not in settled and at not in on_way:
            way.append(at)
            on_way.add(at)
            at = tree[at]
        if at is not None and at in on_way:
            tree[min(way[way.index(at) :])] = None
        settled.update(way)
    return tree


#: One for each of `LAYOUTS`.
_FILLERS: Mapping[str, Callable[[Folder, Contents], Places]] = {
    "flat": _fill_flat,
    "labels": _fill_labels,
    "dates": _fill_dates,
    "by-id": _fill_by_id,
}
