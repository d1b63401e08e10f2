# SPDX-License-Identifier: Apache-2.0
"""Reads the commands and options from click; their texts become Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from backlotfs.cli import commands as program

#: An option in ``--help``: its names, then its metavar.
_RECORD = re.compile(r"^((?:-[\w-]+, )*-[\w-]+)(?:[ ,](.*))?$")
#: ``[a|b]`` of older and ``{a|b}`` of newer versions of click; not ``[=a|b]``, an optional value.
_CHOICE = re.compile(r"^[\[{]([^][{}=]*)[]}]$")
#: The metavars of click's own types, and those in the manual.
_METAVARS = {"INTEGER RANGE": "N", "INTEGER": "N", "TEXT": "TEXT", "DIRECTORY": "DIR"}
_OPTION = re.compile(r"(?<![\w`/.-])(--?[a-zA-Z][\w-]*(?:=[A-Z]+)?)(?![\w`])")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    :ivar names: ``("-o", "--options")``.
    :ivar metavar: name of its value, such as ``SIZE``; empty for a flag.
    :ivar meaning: its help; names of options in the text are marked as code.
    """

    names: tuple[str, ...]
    metavar: str
    meaning: str

    @property
    def long_name(self) -> str:
        """``--cache-size``; the short name if there is no long one."""
        return max(self.names, key=len)

    @property
    def term(self) -> str:
        """``-o``, ``--options`` *OPT*: the form on a command line."""
        written = ", ".join(f"`{name}`" for name in self.names)
        return f"{written} *{self.metavar}*" if self.metavar else written

    @property
    def fstab_term(self) -> str:
        """``cache_size``\\ =\\ *SIZE*: the form in ``-o`` of mount(8)."""
        name = f"`{self.long_name.lstrip('-').replace('-', '_')}`"
        return f"{name}=*{self.metavar}*" if self.metavar else name


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    :ivar words: ``("backlotfs", "config", "init")``.
    :ivar usage: the arguments after the words: ``[OPTIONS] MOUNTPOINT``.
    :ivar description: its help.
    :ivar options: its options by click's names, such as ``cache_size``.
    """

    words: tuple[str, ...]
    usage: str
    description: str
    options: dict[str, Option]

    @property
    def name(self) -> str:
        """``backlotfs config init``."""
        return " ".join(self.words)

    @property
    def page_name(self) -> str:
        """``backlotfs-config-init``."""
        return "-".join(self.words)

    @property
    def purpose(self) -> str:
        """The first clause of its help, with a small first letter, for the section NAME."""
        first = re.split(r"[.:;](?:\s|$)", self.description)[0].replace("`", "")
        return first[:1].lower() + first[1:]


def all_commands() -> list[Command]:
    """Every command of ``backlotfs`` in the order of ``--help``; each group is expanded."""
    # The program's own settings are needed: click keeps the first help option that it has made.
    context = click.Context(program, info_name="backlotfs", **program.context_settings)
    return list(_below(program, context, ("backlotfs",)))


def command_of(
    command: click.Command, words: tuple[str, ...], parent: click.Context | None = None
) -> Command:
    """Describe one command of click."""
    context = click.Context(command, parent, info_name=words[-1])
    options = {
        parameter.name or "": _option(parameter, context)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    }
    usage = " ".join(command.collect_usage_pieces(context))
    return Command(words, usage, _description(command.help or ""), options)


def marked(text: str) -> str:
    """Mark the names of options in a line of plain help as code."""
    parts = text.split("`")
    parts[::2] = [_OPTION.sub(r"`\1`", part) for part in parts[::2]]
    return "`".join(parts)


def _below(group: click.Group, context: click.Context, words: tuple[str, ...]) -> Iterator[Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if isinstance(command, click.Group):
            inner = click.Context(command, context, info_name=name)
            yield from _below(command, inner, (*words, name))
        else:
            yield command_of(command, (*words, name), context)


def _option(option: click.Option, context: click.Context) -> Option:
    record = option.get_help_record(context)
    matched = _RECORD.match(record[0]) if record else None
    if matched is None:
        raise AssertionError(f"click writes {option.opts} in a way not known here")
    metavar = _CHOICE.sub(r"\1", matched[2] or "")
    meaning = marked((option.help or "").strip())
    if meaning and option.multiple:  # in --help there is only room for the sign "…"
        meaning = f"{meaning.removesuffix(' …').rstrip('.')}. May be given several times."
    if option.show_default and option.default not in (None, False, ()):
        meaning = f"{meaning.rstrip('.')} [{option.default}]."
    return Option(tuple(matched[1].split(", ")), _METAVARS.get(metavar, metavar), meaning)


def _description(text: str) -> str:
    """Convert a docstring to Markdown; a paragraph that starts with click's ``\\b`` is code."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[:1] == ["\b"]:
            found.append("\n".join(["```text", *lines[1:], "```"]))
        else:
            found.append(marked(" ".join(lines)))
    return "\n\n".join(found)
