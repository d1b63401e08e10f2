"""A made-up library of any length: the shapes a real account has, without a byte of disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from backlotfs.emulator.records import EmulatedAsset, stable_embed_code
from backlotfs.emulator.synthetic import SyntheticContent, seed_of

PER_SECOND = 50
"""Assets that share one ``created_at``: bulk uploads make ties common."""

DUPLICATE_EVERY = 97
"""Every so many assets, one carries the file name of the asset before it."""

_OLDEST = 1_356_998_400  # 2013-01-01T00:00:00Z
_BYTES_PER_MS = 1000  # 8 Mbit/s, a usual rate for a source


def invent_assets(
    count: int, *, size_bytes: int | Callable[[int], int] = 5_000_000, seed: int = 0
) -> Iterator[EmulatedAsset]:
    """``count`` videos named ``clip-000000.mp4`` and on, the same ones for the same arguments.

    Asset ``i`` was created ``i // PER_SECOND`` seconds after 2013-01-01. When ``i`` is a positive
    multiple of ``DUPLICATE_EVERY`` it has the file name of asset ``i - 1`` (and bytes of its own).
    The source stands first, second or third in ``/streams``, in turn.
    """
    for index in range(count):
        named = index - 1 if index and index % DUPLICATE_EVERY == 0 else index
        size = size_bytes(index) if callable(size_bytes) else size_bytes
        created = _OLDEST + index // PER_SECOND
        yield EmulatedAsset(
            embed_code=stable_embed_code(f"synthetic:{seed}:{index}"),
            title=f"Clip {index}",
            original_file_name=f"clip-{named:06d}.mp4",
            content=SyntheticContent(seed_of(f"{seed}:{index}"), size, created),
            created_at=created,
            duration_ms=size // _BYTES_PER_MS,
            source_position=index % 3,
        )
