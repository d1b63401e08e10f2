# SPDX-License-Identifier: Apache-2.0
"""Assets for emulated libraries: a name, a size, and bytes that show where they came from."""

from __future__ import annotations

from typing import Any

from backlotfs.emulator import BytesContent, Content, EmulatedAsset, SyntheticContent
from backlotfs.emulator.assets import seed_of, stable_embed_code

KIB = 1024
MIB = 1024 * KIB


def video(
    name: str | None, content: int | bytes | Content = 1000, *, tag: str = "", **fields: Any
) -> EmulatedAsset:
    """A video called ``name``.

    :param content: its source: so many synthetic bytes, these bytes, or this object.
    :param tag: tells assets of the same name apart; the embed code follows from both.
    :param fields: further fields of `EmulatedAsset`.
    """
    identity = f"{name}/{tag}"
    if isinstance(content, int):
        content = SyntheticContent(seed_of(identity), content)
    elif isinstance(content, bytes):
        content = BytesContent(content)
    return EmulatedAsset(
        embed_code=stable_embed_code(identity),
        title=fields.pop("title", "Untitled"),
        original_file_name=name,
        content=content,
        **fields,
    )
