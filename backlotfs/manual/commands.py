"""The commands as click knows them: words, usage, help, options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from backlotfs.cli import commands as program
from backlotfs.manual.blocks import Block, Code, Term, marked, term
from backlotfs.manual.details import DETAILS

_RECORD = re.compile(r"^((?:-[\w-]+, )*-[\w-]+)(?:[ ,](.*))?$")
#: ``[a|b]`` of older, ``{a|b}`` of newer versions of click; not ``[=a|b]``, which may be left out.
_CHOICE = re.compile(r"^[\[{]([^][{}=]*)[]}]$")
#: What click calls its own types, and what a reader understands.
_METAVARS = {"INTEGER RANGE": "N", "INTEGER": "N", "TEXT": "TEXT", "DIRECTORY": "DIR"}


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    :ivar words: ``("backlotfs", "config", "init")``.
    :ivar usage: what comes after the words: ``[OPTIONS] MOUNTPOINT``.
    :ivar purpose: the first sentence of its help, without the full stop.
    :ivar text: its help.
    :ivar options: each with its help.
    """

    words: tuple[str, ...]
    usage: str
    purpose: str
    text: tuple[Block, ...]
    options: tuple[Term, ...]

    @property
    def name(self) -> str:
        """``backlotfs config init``."""
        return " ".join(self.words)

    @property
    def page_name(self) -> str:
        """``backlotfs-config-init``."""
        return "-".join(self.words)


def all_commands() -> list[Command]:
    """Every command of ``backlotfs``, in the order of ``--help``; those of a group in its place."""
    # With the program's own settings: click keeps the first help option it made for a command.
    context = click.Context(program, info_name="backlotfs", **program.context_settings)
    return list(_below(program, context, ("backlotfs",)))


def command_of(
    command: click.Command, words: tuple[str, ...], parent: click.Context | None = None
) -> Command:
    """What is known of one."""
    context = click.Context(command, parent, info_name=words[-1])
    text = _blocks(command.help or "")
    first = next((block for block in text if isinstance(block, str)), words[-1])
    return Command(
        words,
        " ".join(command.collect_usage_pieces(context)),
        re.split(r"[.:;](?: |$)", first)[0].replace("`", ""),
        text,
        tuple(option_term(option, context, " ".join(words)) for option in options_of(command)),
    )


def options_of(command: click.Command) -> list[click.Option]:
    """Those that are shown."""
    return [p for p in command.params if isinstance(p, click.Option) and not p.hidden]


def option_term(option: click.Option, context: click.Context, command: str) -> Term:
    """The option as it is written, its help, and the details."""
    names, metavar = _written(option, context)
    written = ", ".join(f"`{name}`" for name in names)
    return term(f"{written} *{metavar}*" if metavar else written, _help(option, command))


def as_mount_option(option: click.Option, context: click.Context) -> Term:
    """An option of ``backlotfs mount`` as ``-o`` has it: ``cache_size=SIZE``."""
    names, metavar = _written(option, context)
    word = max(names, key=len).lstrip("-").replace("-", "_")
    name = f"`{word}`=*{metavar}*" if metavar else f"`{word}`"
    return term(name, _help(option, "backlotfs mount"))


def _written(option: click.Option, context: click.Context) -> tuple[list[str], str]:
    record = option.get_help_record(context)
    matched = _RECORD.match(record[0]) if record else None
    if matched is None:
        raise AssertionError(f"click writes {option.opts} in a way not known here")
    metavar = _CHOICE.sub(r"\1", matched[2] or "")
    return matched[1].split(", "), _METAVARS.get(metavar, metavar)


def _help(option: click.Option, command: str) -> str:
    text = marked((option.help or "").strip())
    if text and option.multiple:  # a line of --help has room for the sign only
        text = f"{text.removesuffix(' …').rstrip('.')}. May be given several times."
    if option.show_default and option.default not in (None, False, ()):
        text = f"{text.rstrip('.')} [{option.default}]."
    return f"{text} {DETAILS.get((command, option.name or ''), '')}".strip()


def _below(group: click.Group, context: click.Context, words: tuple[str, ...]) -> Iterator[Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, context, info_name=name)
        if isinstance(command, click.Group):
            yield from _below(command, inner, (*words, name))
        else:
            yield command_of(command, (*words, name), context)


def _blocks(text: str) -> tuple[Block, ...]:
    """The paragraphs of a docstring; one that starts with click's ``\\b`` stays as it is."""
    found: list[Block] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()) if text.strip() else []:
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[0] == "\b":
            found.append(Code("\n".join(lines[1:])))
        else:
            found.append(marked(" ".join(lines)))
    return tuple(found)
