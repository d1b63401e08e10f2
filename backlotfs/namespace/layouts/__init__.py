"""Which folders there are and which assets are in them (``--layout``). Pure.

A layout is built whole from one version of the library and then only read, by any thread. One
module per layout (`flat`, `dates`, `by_id`, `labels`) fills a `Folder`; `composition` puts them
beside each other. A file is the asset's row itself, the same in each of its places.
"""

from __future__ import annotations

from backlotfs.namespace.layouts.composition import LAYOUTS, Layout, build
from backlotfs.namespace.layouts.folder import ROOT_INODE, Folder, Row, folder_inode

__all__ = ["LAYOUTS", "ROOT_INODE", "Folder", "Layout", "Row", "build", "folder_inode"]
