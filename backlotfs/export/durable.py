"""Writes that are on the disk when they are said to be done."""

from __future__ import annotations

import os
from pathlib import Path


def write_all(descriptor: int, data: memoryview) -> None:
    """Write every byte. :raises OSError: the disk is full, or fails."""
    while data:
        data = data[os.write(descriptor, data) :]


def replace_file(path: Path, data: bytes) -> None:
    """Put a file with these bytes at ``path``, at once and for good, or leave what is there.

    :raises OSError: nothing was changed.
    """
    made = path.with_name(f"{path.name}.new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    try:
        write_all(descriptor, memoryview(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    made.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
