# SPDX-License-Identifier: Apache-2.0
"""The pages of the manual as Markdown: the texts of ``texts/`` with parts from the program.

In a text, ``{{NAME}}`` is replaced by a part from the program (`_from_program`), and
``{{FILE#HEADING}}`` by the section of another text with this heading.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from backlotfs.cli.mount import mount
from backlotfs.cli.mount_helper import NOT_FOR_US, NOT_OPTIONS, helper
from backlotfs.cli.mount_options import IMPLIED, SETTABLE
from backlotfs.config.profile_file import PROFILE_KEYS
from backlotfs.manual.commands import Command, all_commands, command_of
from backlotfs.manual.roff import ITEM

TEXTS = Path(__file__).parent / "texts"
SITE = (
    *("commands.md", "mount-options.md", "configuration.md"),
    *("errors.md", "attributes.md", "json.md"),
)
MAN = ("backlotfs.1.md", "backlotfs.toml.5.md", "mount.backlotfs.8.md")
_PLACEHOLDER = re.compile(r"\{\{(.+?)\}\}")


def site_pages() -> dict[str, str]:
    """The reference of ``docs/``: file name to Markdown."""
    return {name: _completed(_text(name)) for name in SITE}


def man_pages() -> dict[str, str]:
    """File name (``backlotfs.1``) to Markdown of the man pages; each command has its own page."""
    pages = {name.removesuffix(".md"): _completed(_text(name)) for name in MAN}
    for command in all_commands():
        pages[f"{command.page_name}.1"] = _command_page(command)
    return pages


def section(file: str, heading: str) -> str:
    """The section of a text with this heading, without the heading; empty if there is none."""
    after = _text(file).partition(f"\n## {heading}\n")[2]
    return _completed(re.split(r"^## ", after, maxsplit=1, flags=re.M)[0].strip())


def items(text: str) -> dict[str, str]:
    """The items of a list: term without backticks to meaning."""
    return {
        match["term"].replace("`", ""): " ".join(match["meaning"].split())
        for match in re.finditer(ITEM, text, re.M)
    }


def _text(file: str) -> str:
    return (TEXTS / file).read_text("utf-8")


def _completed(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        file, _, heading = match[1].partition("#")
        return section(file, heading) if heading else _from_program()[match[1]]

    return _PLACEHOLDER.sub(value, text)


@functools.cache
def _from_program() -> Mapping[str, str]:
    """Name to text of the parts from the program that the texts may contain."""
    commands = all_commands()
    mount_command = command_of(mount, ("backlotfs", "mount"))
    only_fstab = {
        option.fstab_term: _meaning(mount_command, name)
        for name, option in mount_command.options.items()
        if name not in NOT_OPTIONS | set(SETTABLE)
    }
    settable = {
        f"`{name}`=*{value}*" if value else f"`{name}`": meaning
        for name, (value, meaning) in SETTABLE.items()
    }
    profile_keys = {
        f"`{key.name}` ({key.kind})": f"{key.meaning} Default: {key.default}."
        for key in PROFILE_KEYS
    }
    return {
        "synopsis": "\n".join(f"{command.name} {command.usage}" for command in commands),
        "commands": "\n\n".join(
            f"### {command.name}\n\n```text\n{command.name} {command.usage}\n```\n\n"
            f"{command.description}\n\n{_options(command)}".rstrip()
            for command in commands
        ),
        "command pages": ", ".join(f"{command.page_name}(1)" for command in commands),
        "options of mount.backlotfs": _options(command_of(helper, ("mount.backlotfs",))),
        "options of -o": _list(settable),
        "options of fstab": _list(only_fstab),
        "implied options": _names(IMPLIED),
        "options of others": _names(NOT_FOR_US),
        "profile keys": _list(profile_keys),
    }


def _command_page(command: Command) -> str:
    parts = {
        "SYNOPSIS": f"`{command.name}` {command.usage}",
        "DESCRIPTION": command.description,
        "OPTIONS": _options(command),
        "JSON": section("json.md", f"{command.name} --json"),
        "EXIT STATUS": section("errors.md", "Exit codes of backlotfs"),
        "EXAMPLES": section("examples.md", command.name),
        "SEE ALSO": "backlotfs(1), backlotfs.toml(5), mount.backlotfs(8)",
    }
    sections = [f"## {title}\n\n{text}" for title, text in parts.items() if text]
    return "\n\n".join([f"# {command.page_name}(1): {command.purpose}", *sections])


def _options(command: Command) -> str:
    return _list({o.term: _meaning(command, name) for name, o in command.options.items()})


def _meaning(command: Command, name: str) -> str:
    """The help of an option, and its details from ``texts/option-details.md``."""
    option = command.options[name]
    details = items(section("option-details.md", command.name))
    return f"{option.meaning} {details.get(option.long_name, '')}".rstrip()


def _list(meanings: Mapping[str, str]) -> str:
    return "\n".join(f"- {term}: {meaning}" for term, meaning in meanings.items())


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
