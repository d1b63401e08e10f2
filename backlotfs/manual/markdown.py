"""Sections as Markdown, for the site of ``docs/``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backlotfs.manual.blocks import Block, Code, Section, Term


def rendered(title: str, introduction: str, sections: Iterable[Section]) -> str:
    """A page of the site."""
    lines = [f"# {title}", "", introduction, "", *_sections(sections, 2)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _sections(sections: Iterable[Section], depth: int) -> Iterator[str]:
    for section in sections:
        yield f"{'#' * depth} {section.title}"
        yield ""
        yield from _blocks(section.blocks, "")
        yield from _sections(section.parts, depth + 1)


def _blocks(blocks: Iterable[Block], indent: str) -> Iterator[str]:
    was_term = False
    for block in blocks:
        if was_term and not isinstance(block, Term):
            yield ""
        was_term = isinstance(block, Term)
        if isinstance(block, Term):
            yield from _term(block, indent)
        elif isinstance(block, Code):
            code = block.lines.strip("\n").splitlines()
            yield from (f"{indent}{line}".rstrip() for line in ("```text", *code, "```", ""))
        else:
            yield f"{indent}{block}"
            yield ""
    if was_term:
        yield ""


def _term(block: Term, indent: str) -> Iterator[str]:
    """``- **name**: meaning``, with what else it has indented below it."""
    name = block.name if "`" in block.name else f"`{block.name}`"
    first, *rest = block.body or ("",)
    if isinstance(first, str):
        yield f"{indent}- {name}: {first}"
    else:
        yield f"{indent}- {name}:"
        rest = [first, *rest]
    if rest:
        yield ""
        yield from _blocks(rest, indent + "    ")
