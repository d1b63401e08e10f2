# SPDX-License-Identifier: Apache-2.0
"""Converts Markdown to roff with the macros of man(7).

It supports only the Markdown that the pages use: headings, paragraphs, fenced code, lists of
``- term: meaning``, ``code`` between backticks, and *a word to replace* between asterisks.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

#: One item of a list; further lines of its meaning are indented.
ITEM = r"^- (?P<term>.+?): (?P<meaning>.+(?:\n  .+)*)$"
_BLOCK = re.compile(
    r"^```\w*\n(?P<code>[\s\S]*?)\n```$"
    r"|^(?P<level>##+) (?P<title>.+)$"
    rf"|{ITEM}"
    r"|^(?P<text>.+(?:\n(?!- |#|```).+)*)$",
    re.M,
)
_TITLE = re.compile(r"# (?P<name>[\w.-]+)\((?P<chapter>\d)\): (?P<purpose>.+)\n")
_MARKUP = re.compile(r"`([^`]+)`|\*([^*\s][^*]*)\*")
_WIDTH = 76


def rendered(page: str, *, date: str, version: str) -> str:
    """The source of a manual page.

    :param page: Markdown whose first line is ``# name(chapter): purpose``.
    :param date: date of the page, such as ``2026-01-31``.
    """
    title = _TITLE.match(page)
    if title is None:
        raise AssertionError(f"no title of a manual page: {page.partition(chr(10))[0]}")
    name, chapter, purpose = title.groups()
    lines = [
        f'.TH "{name.upper()}" "{chapter}" "{date}" "backlotfs {version}"',
        ".SH NAME",
        *_wrapped(rf"{_escaped(name)} \- {_escaped(purpose)}"),
        *_blocks(page[title.end() :]),
    ]
    return "\n".join(lines) + "\n"


def _blocks(markdown: str) -> Iterator[str]:
    is_first = True
    for block in _BLOCK.finditer(markdown):
        if block["title"]:
            yield f'.{"SH" if block["level"] == "##" else "SS"} "{_escaped(block["title"])}"'
        elif block["term"]:
            yield ".TP"
            yield _marked_up(block["term"])
            yield from _wrapped(_marked_up(block["meaning"]))
        elif block["code"]:
            if not is_first:
                yield ".sp"
            yield from [".RS 4", ".nf"]
            yield from map(_guarded, _escaped(block["code"], is_code=True).splitlines())
            yield from [".fi", ".RE"]
        else:
            if not is_first:
                yield ".PP"
            yield from _wrapped(_marked_up(block["text"]))
        is_first = block["title"] is not None


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_guarded(line) for line in lines]


def _guarded(line: str) -> str:
    """Guard a line that starts with a dot or an apostrophe, or roff would read a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _marked_up(text: str) -> str:
    """Make code bold, and words to replace italic."""
    text = " ".join(text.split())
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
    """Escape text for roff. In code, a hyphen becomes a minus, which can be copied and searched."""
    text = text.replace("\\", r"\e").replace("…", "...")  # ASCII terminals have no such glyph
    if is_code:
        text = text.replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha")
        text = text.replace("~", r"\(ti").replace("`", r"\(ga")
    return "".join(c if c.isascii() else rf"\[u{ord(c):04X}]" for c in text)
