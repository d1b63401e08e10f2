"""Whether a copy is the original: SHA-256 of both, read from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


class CheckFailed(Exception):
    """Something the demo shows is not so; the message says what differed."""


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    :raises OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(pairs: Iterable[tuple[Path, Path]]) -> tuple[int, int]:
    """Compare each (copy, original); how many files were equal, and their bytes.

    :raises CheckFailed: with every copy that differs or is missing, and how.
    """
    files = size_bytes = 0
    differences: list[str] = []
    for copy, original in pairs:
        expected_bytes = original.stat().st_size
        if not copy.is_file():
            differences.append(f"{copy.name}: was not copied")
        elif copy.stat().st_size != expected_bytes:
            differences.append(
                f"{copy.name}: {copy.stat().st_size} bytes, the original has {expected_bytes}"
            )
        elif digest(copy) != digest(original):
            differences.append(f"{copy.name}: same size, but not the bytes of {original}")
        else:
            files += 1
            size_bytes += expected_bytes
    if differences:
        raise CheckFailed("\n".join(differences))
    return files, size_bytes
