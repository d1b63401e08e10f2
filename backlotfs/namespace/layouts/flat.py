"""Layout ``flat``: every asset in one folder."""

from __future__ import annotations

from collections.abc import Collection

from backlotfs.namespace.layouts.folder import Folder, R
from backlotfs.namespace.name_modes import NameMode


def fill_flat(root: Folder[R], rows: Collection[R], mode: NameMode) -> None:
    """Puts every asset into ``root``."""
    root.put_files(rows, mode)
