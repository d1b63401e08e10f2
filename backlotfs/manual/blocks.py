"""What a page consists of, before it is roff or Markdown.

Texts are one line of the Markdown that both have: ``code`` between backticks, *a word to replace*
between asterisks. Nothing else is markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

_OPTION = re.compile(r"(?<![\w`/.-])(--?[a-zA-Z][\w-]*(?:=[A-Z]+)?)(?![\w`])")


@dataclass(frozen=True, slots=True)
class Code:
    """Lines that stay as they are."""

    lines: str


@dataclass(frozen=True, slots=True)
class Term:
    """Something and what it means."""

    name: str
    body: tuple[Block, ...]


Block: TypeAlias = str | Code | Term


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what stands below it, and one level of sections in that."""

    title: str
    blocks: tuple[Block, ...] = ()
    parts: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A manual page.

    :ivar name: ``backlotfs``, ``backlotfs.toml``, …
    :ivar chapter: 1, 5 or 8.
    :ivar purpose: a few words for NAME, without a full stop.
    """

    name: str
    chapter: int
    purpose: str
    sections: tuple[Section, ...]

    @property
    def file(self) -> str:
        """Its file's name, as man(1) wants it."""
        return f"{self.name}.{self.chapter}"


def term(name: str, *body: Block) -> Term:
    """A `Term`, shorter to write."""
    return Term(name, body)


def marked(text: str) -> str:
    """A line of plain help with its options marked as code."""
    parts = text.split("`")
    parts[::2] = [_OPTION.sub(r"`\1`", part) for part in parts[::2]]
    return "`".join(parts)


def texts_of(block: Block) -> str:
    """All words of a block."""
    if isinstance(block, str):
        return block
    if isinstance(block, Code):
        return block.lines
    return "\n".join([block.name, *map(texts_of, block.body)])
