"""Pages as roff, by the macros of man(7)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from backlotfs.manual.blocks import Block, Code, Page, Section, Term

_WIDTH = 76
_MARKUP = re.compile(r"`([^`]+)`|\*([^*\s][^*]*)\*")


def rendered(page: Page, *, date: str, version: str) -> str:
    """The source of a manual page.

    :param date: ``2026-01-31``, of the page.
    """
    title = f'.TH "{page.name.upper()}" "{page.chapter}" "{date}" "backlotfs {version}"'
    name = [".SH NAME", *_wrapped(rf"{_escaped(page.name)} \- {_escaped(page.purpose)}")]
    return "\n".join([title, *name, *_sections(page.sections, "SH")]) + "\n"


def link_to(page: Page) -> str:
    """The source of a page that is another by a second name."""
    return f".so man{page.chapter}/{page.file}\n"


def _sections(sections: Iterable[Section], macro: str) -> Iterator[str]:
    for section in sections:
        yield f'.{macro} "{_escaped(section.title)}"'
        yield from _blocks(section.blocks)
        yield from _sections(section.parts, "SS")


def _blocks(blocks: Iterable[Block], paragraph: str = ".PP") -> Iterator[str]:
    """:param paragraph: what parts two texts; within the meaning of a term that is ``.IP``."""
    is_first = True
    for block in blocks:
        if isinstance(block, Term):
            yield ".TP"
            yield _text(block.name, "B" if "`" not in block.name else "")
            yield from _blocks(block.body, ".IP")
        elif isinstance(block, Code):
            if not is_first:
                yield ".sp"
            yield from [".RS 4" if paragraph == ".PP" else ".RS 2", ".nf"]
            yield from (_guarded(_escaped(line, is_code=True)) for line in _lines(block))
            yield from [".fi", ".RE"]
        else:
            if not is_first:
                yield paragraph
            yield from _wrapped(_text(block))
        is_first = False


def _lines(block: Code) -> list[str]:
    return block.lines.strip("\n").splitlines()


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_guarded(line) for line in lines]


def _guarded(line: str) -> str:
    """A line that starts with a dot would be a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _text(text: str, font: str = "") -> str:
    """Bold for what is typed, italic for what is replaced."""
    if font:
        return rf"\f{font}{_escaped(text, is_code=True)}\fR"
    found, end = [], 0
    for match in _MARKUP.finditer(text):
        found.append(_escaped(text[end : match.start()]))
        code, variable = match.groups()
        found.append(
            rf"\fB{_escaped(code, is_code=True)}\fR" if code else rf"\fI{_escaped(variable)}\fR"
        )
        end = match.end()
    return "".join([*found, _escaped(text[end:])])


def _escaped(text: str, *, is_code: bool = False) -> str:
    """A hyphen of code is a minus, which can be copied from a terminal and searched for."""
    text = text.replace("\\", r"\e")
    if is_code:
        text = text.replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha")
        text = text.replace("~", r"\(ti").replace("`", r"\(ga")
    return "".join(c if c.isascii() else rf"\[u{ord(c):04X}]" for c in text)
