"""Destinations that take ``A.mov`` and ``a.mov`` for one name: exFAT, SMB, disks of a Mac.

There the second file would replace the first without a word, and its digest would be the first's.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from backlotfs.export.items import Item, Problem, printable
from backlotfs.export.part import PART_PREFIX


def folds_case(folder: Path) -> bool:
    """Whether names that differ in case only are one name there; found out by trying.

    :raises OSError: nothing can be written there.
    """
    made = folder / f"{PART_PREFIX}{os.getpid()}-Case"
    os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        return made.with_name(made.name.replace("Case", "cASE")).exists()
    finally:
        made.unlink()


def kept_apart(items: Iterable[Item]) -> tuple[list[Item], list[Problem]]:
    """The items that have a name of their own without regard to case, and what is wrong with the
    others. The first of those that clash stays."""
    taken: dict[str, str] = {}
    kept, clashing = [], []
    for item in items:
        folded = unicodedata.normalize("NFC", item.name).casefold()
        first = taken.setdefault(folded, item.name)
        if first == item.name:
            kept.append(item)
        else:
            clashing.append(
                Problem(
                    item.name,
                    f"is the same name as {printable(first)} for the disk of the destination; "
                    "mount with --names portable, or choose another disk",
                )
            )
    return kept, clashing
