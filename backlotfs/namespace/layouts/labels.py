"""Layout ``labels``: the label tree; an asset in each of its labels, the others in ``Unlabeled/``.

``Unlabeled/`` is always there, and so is the folder of a label without assets: a path that a script
relies on does not come and go with what is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from backlotfs.api.records import Label
from backlotfs.namespace.layouts.folder import Folder, R, folder_inode
from backlotfs.namespace.layouts.label_tree import label_places
from backlotfs.namespace.name_modes import NameMode

UNLABELED = "Unlabeled"


def fill_labels(
    root: Folder[R],
    rows: Collection[R],
    labels: Iterable[Label],
    members: Mapping[str, Sequence[str]],
    mode: NameMode,
) -> dict[str, int]:
    """Puts every asset into each of its labels.

    :param members: label id to the embed codes that have the label; unknown ones are ignored.
    :return: embed code to number of places, of the assets that have more than one.
    """
    places = label_places(labels, mode, reserved=[UNLABELED])
    folders: dict[str, Folder[R]] = {
        place.label_id: Folder(folder_inode(f"label:{place.label_id}")) for place in places
    }
    for place in places:
        parent = root if place.parent_id is None else folders[place.parent_id]
        parent.put_folder(place.name, folders[place.label_id])
    unlabeled: Folder[R] = Folder(folder_inode("labels:unlabeled"))
    root.put_folder(UNLABELED, unlabeled)

    by_code = {row.embed_code: row for row in rows}
    labelled: set[str] = set()
    nlink: dict[str, int] = {}
    for label_id, folder in folders.items():
        # a dict, not a set: the same order of listing in every process
        codes = dict.fromkeys(members.get(label_id, ()))
        folder.put_files([row for row in map(by_code.get, codes) if row is not None], mode)
        for code in labelled.intersection(codes):
            if code in by_code:
                nlink[code] = nlink.get(code, 1) + 1
        labelled.update(codes)
    unlabeled.put_files([row for code, row in by_code.items() if code not in labelled], mode)
    return nlink
