# SPDX-License-Identifier: Apache-2.0
"""The commands and options as click knows them, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from backlotfs.cli import commands as program

#: What ``--help`` writes for an option: its names, then what it takes.
_RECORD = re.compile(r"^((?:-[\w-]+, )*-[\w-]+)(?:[ ,](.*))?$")
#: ``[a|b]`` of older, ``{a|b}`` of newer versions of click; not ``[=a|b]``, which may be left out.
_CHOICE = re.compile(r"^[\[{]([^][{}=]*)[]}]$")
#: What click calls its own types, and what a reader understands.
_METAVARS = {"INTEGER RANGE": "N", "INTEGER": "N", "TEXT": "TEXT", "DIRECTORY": "DIR"}
_OPTION = re.compile(r"(?<![\w`/.-])(--?[a-zA-Z][\w-]*(?:=[A-Z]+)?)(?![\w`])")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    :ivar names: ``("-o", "--options")``.
    :ivar metavar: what it takes, ``SIZE``; empty for a flag.
    :ivar meaning: its help, with the options that it names marked as code.
    """

    names: tuple[str, ...]
    metavar: str
    meaning: str

    @property
    def long_name(self) -> str:
        """``--cache-size``; the short name where there is no other."""
        return max(self.names, key=len)

    @property
    def term(self) -> str:
        """``-o``, ``--options`` *OPT* as a command line has it."""
        written = ", ".join(f"`{name}`" for name in self.names)
        return f"{written} *{self.metavar}*" if self.metavar else written

    @property
    def fstab_term(self) -> str:
        """``cache_size``\\ =\\ *SIZE* as ``-o`` of mount(8) has it."""
        name = f"`{self.long_name.lstrip('-').replace('-', '_')}`"
        return f"{name}=*{self.metavar}*" if self.metavar else name


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    :ivar words: ``("backlotfs", "config", "init")``.
    :ivar usage: what follows the words: ``[OPTIONS] MOUNTPOINT``.
    :ivar description: its help.
    :ivar options: by click's name: ``cache_size``.
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
        """The first clause of its help, in lower case, for NAME."""
        first = re.split(r"[.:;](?:\s|$)", self.description)[0].replace("`", "")
        return first[:1].lower() + first[1:]


def all_commands() -> list[Command]:
    """Every command of ``backlotfs``, in the order of ``--help``; those of a group in its place."""
    # with the program's own settings: click keeps the first help option that it made for a command
    context = click.Context(program, info_name="backlotfs", **program.context_settings)
    return list(_below(program, context, ("backlotfs",)))


def command_of(
    command: click.Command, words: tuple[str, ...], parent: click.Context | None = None
) -> Command:
    """One command of click."""
    context = click.Context(command, parent, info_name=words[-1])
    options = {
        parameter.name or "": _option(parameter, context)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    }
    usage = " ".join(command.collect_usage_pieces(context))
    return Command(words, usage, _description(command.help or ""), options)


def marked(text: str) -> str:
    """A line of plain help with its options marked as code."""
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
    if meaning and option.multiple:  # a line of --help has room for the sign only
        meaning = f"{meaning.removesuffix(' …').rstrip('.')}. May be given several times."
    if option.show_default and option.default not in (None, False, ()):
        meaning = f"{meaning.rstrip('.')} [{option.default}]."
    return Option(tuple(matched[1].split(", ")), _METAVARS.get(metavar, metavar), meaning)


def _description(text: str) -> str:
    """A docstring as Markdown; a paragraph that starts with click's ``\\b`` is code."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[:1] == ["\b"]:
            found.append("\n".join(["```text", *lines[1:], "```"]))
        else:
            found.append(marked(" ".join(lines)))
    return "\n\n".join(found)
