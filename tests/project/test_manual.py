# SPDX-License-Identifier: Apache-2.0
"""The manual says all there is to say: nothing the program knows is without a word to its user."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from backlotfs.cli import commands
from backlotfs.cli.mount_helper import helper, known_options
from backlotfs.cli.mount_options import SETTABLE
from backlotfs.config.profile_file import PROFILE_KEYS, ProfileKey
from backlotfs.manual.__main__ import generated, man, write
from backlotfs.manual.commands import Command, all_commands, command_of
from backlotfs.manual.pages import TEXTS, items, section
from backlotfs.mount.signals import HANDLED
from tests.project import known_names
from tests.project.source_tree import ROOT

FILES = generated()
PAGES = sorted(Path(name).name for name in FILES if name.startswith("man/"))
ALL = [*all_commands(), command_of(helper, ("mount.backlotfs",))]


def unsaid(command: Command) -> Iterator[str]:
    """A sentence for whatever of a command has no word to its user; it says where to write it."""
    if not command.description:
        yield f"{command.name}: say in its docstring what it does"
    for option in command.options.values():
        if not option.meaning:
            yield f"{command.name}: say what {option.term} does, in help= of its click.option"


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.page_name)
def test_every_option_has_a_meaning(command: Command) -> None:
    """Its ``help=``, which ``--help``, the pages and the site all show."""
    assert list(unsaid(command)) == []


def test_an_option_without_a_meaning_is_seen() -> None:
    """The rule itself can fail, and says what to do."""

    @click.command()
    @click.option("--new")
    @click.option("--more", multiple=True)
    def bare(**_: object) -> None: ...

    assert list(unsaid(command_of(bare, ("backlotfs", "bare")))) == [
        "backlotfs bare: say in its docstring what it does",
        "backlotfs bare: say what `--new` *TEXT* does, in help= of its click.option",
        "backlotfs bare: say what `--more` *TEXT* does, in help= of its click.option",
    ]


@pytest.mark.parametrize(
    ("known", "file", "heading"),
    [
        ({*map(str, known_names.exit_codes())}, "errors.md", "Exit codes of backlotfs"),
        (known_names.errnos(), "errors.md", "Errors of files"),
        ({number.name for number in HANDLED}, "errors.md", "Signals"),
        (known_names.extended_attributes(), "attributes.md", "Names"),
    ],
    ids=["exit codes", "errnos", "signals", "extended attributes"],
)
def test_every_number_and_name_has_a_meaning(known: set[str], file: str, heading: str) -> None:
    """And no meaning is left of what is gone."""
    explained = set(items(section(file, heading)))
    where = f'"{heading}" of backlotfs/manual/texts/{file}'
    assert known <= explained, f"say what {sorted(known - explained)} mean, in {where}"
    assert explained <= known, f"take {sorted(explained - known)} out of {where}: they are gone"


def test_every_variable_has_a_meaning() -> None:
    """Those of a library that we use (``XDG_…``) are there beside ours."""
    new = known_names.variables() - set(items(section("configuration.md", "Environment")))
    assert not new, f"say what {sorted(new)} do, in backlotfs/manual/texts/configuration.md"


def test_what_is_read_from_the_source_is_there() -> None:
    """The rules above look at something."""
    assert {"EIO", "ESTALE", "EROFS", "EINVAL"} <= known_names.errnos()
    assert {0, 1, 2, 3, 4, 5, 130} <= known_names.exit_codes()
    assert {"BACKLOT_API_SECRET", "NOTIFY_SOCKET"} <= known_names.variables()
    assert "user.backlot.embed_code" in known_names.extended_attributes()


def test_details_and_examples_are_of_commands_and_options_that_exist() -> None:
    """An option that is renamed takes its details along."""
    options = {
        command.name: {option.long_name for option in command.options.values()}
        for command in all_commands()
    }
    for command in headings("option-details.md"):
        assert set(items(section("option-details.md", command))) <= options[command]
    assert headings("examples.md") - {"backlotfs"} <= set(options)


def headings(file: str) -> set[str]:
    """Of a text."""
    return set(re.findall(r"^## (.+)$", (TEXTS / file).read_text("utf-8"), re.M))


@pytest.mark.parametrize("place", [man("backlotfs.1"), "doc/backlotfs/commands.md"])
def test_every_command_and_option_is_shown(place: str) -> None:
    """The generators leave none out."""
    text = FILES[place].replace("\\-", "-")
    for command in all_commands():
        assert command.name in text
        for option in command.options.values():
            assert all(name in text for name in option.names), f"{command.name} {option.term}"


@pytest.mark.parametrize("place", [man("mount.backlotfs.8"), "doc/backlotfs/mount-options.md"])
@pytest.mark.parametrize("option", sorted({*known_options(), *SETTABLE}))
def test_every_mount_option_is_shown(place: str, option: str) -> None:
    """As ``-o`` takes it."""
    assert option in FILES[place].replace("\\-", "-")


@pytest.mark.parametrize("place", [man("backlotfs.toml.5"), "doc/backlotfs/configuration.md"])
@pytest.mark.parametrize("key", PROFILE_KEYS, ids=lambda key: key.name)
def test_every_profile_key_is_shown(place: str, key: ProfileKey) -> None:
    """With its meaning."""
    assert key.name in FILES[place]
    assert key.meaning, f"say in backlotfs/config/profile_file.py what {key.name} means"


def test_the_exit_codes_and_errnos_are_where_they_are_met_first() -> None:
    """Those that a script or a puzzled reader sees: README, and the table of docs/semantics.md."""
    readme = (ROOT / "README.md").read_text("utf-8")
    told = re.sub(r"\s+", " ", readme.partition("Exit codes:")[2].partition("\n\n")[0])
    for code in sorted(known_names.exit_codes() - {130}):
        assert f" {code} " in told, f"the exit codes in README.md lack {code}"
    semantics = (ROOT / "docs" / "semantics.md").read_text("utf-8")
    errors = semantics.partition("## Errors")[2].partition("\n## ")[0]
    for name in ("ENOENT", "ESTALE", "EACCES", "ENODATA", "ETIMEDOUT", "EIO", "EROFS", "ENOTSUP"):
        assert re.search(rf"^\| [^|]*\b{name}\b", errors, re.M), f"no {name} in docs/semantics.md"


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it in a folder, by the command."""
    folder = tmp_path_factory.mktemp("share")
    done = CliRunner().invoke(write, [str(folder)])
    assert (done.exit_code, done.output) == (0, "")
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == set(FILES)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_nothing_amiss(page: str, share: Path) -> None:
    """Not even a matter of style."""
    path = share / man(page)
    text = path.read_text("utf-8")
    if text.startswith(".so "):
        assert (share / "man" / text.split()[1]).exists()  # no more than another name of that
        return
    linted = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle", path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")


def test_examples_are_lines_that_click_takes() -> None:
    """Each line of an example that begins with our name."""
    text = (TEXTS / "examples.md").read_text("utf-8").replace("\\\n", "")
    found = re.findall(r"^backlotfs .*", text, re.M)
    assert len(found) > 10
    for line in found:
        words = shlex.split(line.split(" | ")[0])
        command: click.Command = commands
        context = click.Context(commands)
        while isinstance(command, click.Group):
            inner = command.get_command(context, words[1])
            assert inner is not None, line
            command, words = inner, words[1:]
        command.make_context(words[0], words[1:])


def test_every_placeholder_is_replaced() -> None:
    """By the program's words, or by those of another text."""
    assert not [name for name, text in FILES.items() if "{{" in text]
