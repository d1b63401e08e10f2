# SPDX-License-Identifier: Apache-2.0
"""Finds the folder of an opened file and the orders of its files, for prefetch across files."""

from __future__ import annotations

from typing import NamedTuple

from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.tree import Folder, PerFolder
from backlotfs.prefetch.walk_planner import FolderOrders


class WalkFolders:
    """Finds folders of a mount and the orders of their files. Any thread may call it."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._orders = PerFolder(_orders)

    def folder_of(self, embed_code: str, near: int | None, most_files: int) -> FolderOrders | None:
        """The folder in which an asset was probably opened; None: it is unknown or too large.

        :param near: the inode number of the folder that the program used before.
        :param most_files: a folder with more files is too large.
        """
        place = None if near is None else self._namespace.place(near)
        if place is not None:
            orders = self._orders_of(place.folder, most_files)
            if orders is not None and embed_code in orders:
                return orders
        return self._orders_of(self._namespace.folder_with(embed_code, near), most_files)

    def _orders_of(self, folder: Folder | None, most_files: int) -> FolderOrders | None:
        if folder is None or len(folder.entries) > most_files:
            return None
        return self._orders.of(folder)


class _File(NamedTuple):
    """A file of a folder; see `FolderFile`."""

    embed_code: str
    name: str
    inode: int


def _orders(folder: Folder) -> FolderOrders:
    assets, inodes = folder.assets, list(folder.inodes())
    files = list(map(_File, assets.codes(inodes), assets.names(inodes), inodes))
    return FolderOrders(folder.inode, files)
