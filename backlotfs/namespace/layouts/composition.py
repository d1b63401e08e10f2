"""One layout as the root, or several as top-level folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from backlotfs.api.records import Label
from backlotfs.errors import SettingsError
from backlotfs.namespace.layouts.by_id import fill_by_id
from backlotfs.namespace.layouts.dates import fill_dates
from backlotfs.namespace.layouts.flat import fill_flat
from backlotfs.namespace.layouts.folder import ROOT_INODE, Folder, R, folder_inode
from backlotfs.namespace.layouts.labels import fill_labels
from backlotfs.namespace.name_modes import NameMode

#: What ``--layout`` accepts.
LAYOUTS = ("flat", "labels", "dates", "by-id")


@dataclass(frozen=True, slots=True)
class Layout(Generic[R]):
    """One whole version of the folders.

    :ivar nlink: embed code to number of places, of the assets that have more than one.
    :ivar folders: how many there are, the root counted.
    """

    root: Folder[R]
    nlink: Mapping[str, int]
    folders: int

    def places(self, embed_code: str) -> int:
        """``st_nlink`` of an asset."""
        return self.nlink.get(embed_code, 1)


def build(
    layouts: Sequence[str],
    rows: Iterable[R],
    labels: Iterable[Label],
    members: Mapping[str, Sequence[str]],
    *,
    names: NameMode,
) -> Layout[R]:
    """The folders of one version of the library.

    Nothing hangs on the order of ``rows``, ``labels`` and ``members`` but the order of listings.

    :param layouts: of `LAYOUTS`; one is the root, several are folders in it, called like this.
    :param rows: with different embed codes and different names; an asset that has no name yet is
        left out.
    :param members: label id to the embed codes that have the label; unknown ones are ignored.
    :param names: the mode in which the names of ``rows`` were given; labels are named in it too.
    :raises SettingsError: no layout, or one that does not exist.
    """
    chosen = tuple(dict.fromkeys(layouts))
    unknown = [name for name in chosen if name not in LAYOUTS]
    if unknown or not chosen:
        asked = f"no layout is called {unknown[0]!r}" if unknown else "no layout is asked for"
        raise SettingsError(f"{asked}: choose of {', '.join(LAYOUTS)}")

    named = [row for row in rows if row.name]
    root: Folder[R] = Folder(ROOT_INODE)
    label_links: Mapping[str, int] = {}
    for layout in chosen:
        folder = root
        if len(chosen) > 1:
            folder = Folder(folder_inode(f"layout:{layout}"))
            root.put_folder(layout, folder)
        if layout == "flat":
            fill_flat(folder, named, names)
        elif layout == "dates":
            fill_dates(folder, named, names)
        elif layout == "by-id":
            fill_by_id(folder, named, names)
        else:
            label_links = fill_labels(folder, named, labels, members, names)
    return Layout(root, _links(named, len(chosen), label_links), _count(root))


def _links(rows: Sequence[R], layouts: int, label_links: Mapping[str, int]) -> Mapping[str, int]:
    """:param label_links: places in ``labels``; every other layout has one place per asset."""
    if layouts == 1:
        return label_links
    nlink = dict.fromkeys((row.embed_code for row in rows), layouts)
    nlink.update({code: layouts - 1 + places for code, places in label_links.items()})
    return nlink


def _count(root: Folder[R]) -> int:
    count = 0
    pending = [root]
    while pending:
        count += 1
        pending.extend(folder for _, folder in pending.pop().folders())
    return count
