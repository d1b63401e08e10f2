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
from backlotfs.config.profile_keys import PROFILE_KEYS, ProfileKey
from backlotfs.manual import facts
from backlotfs.manual.__main__ import generated, man, write
from backlotfs.manual.blocks import Code, texts_of
from backlotfs.manual.commands import Command, all_commands, command_of, options_of
from backlotfs.manual.details import DETAILS
from backlotfs.manual.examples import COMMANDS, PROGRAM
from backlotfs.mount.signals import HANDLED
from tests.project import known_names
from tests.project.source_tree import ROOT

FILES = generated()
PAGES = sorted(Path(name).name for name in FILES if name.startswith("man/"))
ALL = [*all_commands(), command_of(helper, ("mount.backlotfs",))]
FACTS = "backlotfs/manual/facts.py"


def unsaid(command: Command) -> Iterator[str]:
    """A sentence for whatever of a command has no word to its user; it says where to write it."""
    if not command.text:
        yield f"{command.name}: say in its docstring what it does"
    for option in command.options:
        if not any(map(texts_of, option.body)):
            yield f"{command.name}: say what {option.name} does, in help= of its click.option"


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
    ("known", "table", "name"),
    [
        (known_names.exit_codes(), facts.EXIT_CODES, "EXIT_CODES"),
        (known_names.errnos(), facts.ERRNOS, "ERRNOS"),
        ({number.name for number in HANDLED}, facts.SIGNALS, "SIGNALS"),
        (known_names.extended_attributes(), facts.XATTRS, "XATTRS"),
    ],
    ids=["exit codes", "errnos", "signals", "extended attributes"],
)
def test_every_number_and_name_has_a_meaning(
    known: set[object], table: dict[object, str], name: str
) -> None:
    """And no meaning is left of what is gone."""
    new, gone = known - set(table), set(table) - known
    assert not new, f"{sorted(map(str, new))}: say what they mean, in {name} of {FACTS}"
    assert not gone, f"{sorted(map(str, gone))} are gone: take them out of {name} of {FACTS}"


def test_every_variable_has_a_meaning() -> None:
    """Those of a library that we use (``XDG_…``) are there beside ours."""
    new = known_names.variables() - set(facts.ENVIRONMENT)
    assert not new, f"{sorted(new)}: say what they do, in ENVIRONMENT of {FACTS}"


def test_what_is_read_from_the_source_is_there() -> None:
    """The rules above look at something."""
    assert {"EIO", "ESTALE", "EROFS", "EINVAL"} <= known_names.errnos()
    assert {0, 1, 2, 3, 4, 5, 130} <= known_names.exit_codes()
    assert {"BACKLOT_API_SECRET", "NOTIFY_SOCKET"} <= known_names.variables()
    assert "user.backlot.embed_code" in known_names.extended_attributes()


def test_details_are_of_options_that_exist() -> None:
    """An option that is renamed takes its details along."""
    names = {
        (command.name, option.name)
        for command in all_commands()
        for option in options_of(_click_command(command.words))
    }
    assert set(DETAILS) <= names


def _click_command(words: tuple[str, ...]) -> click.Command:
    found: click.Command = commands
    for word in words[1:]:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    return found


@pytest.mark.parametrize("place", [man("backlotfs.1"), "doc/backlotfs/commands.md"])
def test_every_command_and_option_is_shown(place: str) -> None:
    """The generators leave none out."""
    text = FILES[place].replace("\\-", "-")
    for command in all_commands():
        assert command.name in text
        for option in command.options:
            for name in option.name.replace("`", "").split(" ")[0].split(","):
                assert name in text, f"{command.name} {name}"


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
    assert key.meaning, f"say in backlotfs/config/profile_keys.py what {key.name} means"


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


def test_examples_are_of_commands_and_options_that_exist() -> None:
    """Each line that begins with our name is one that click takes apart."""
    blocks = [*PROGRAM, *(block for shown in COMMANDS.values() for block in shown)]
    assert set(COMMANDS) <= {command.name for command in all_commands()}
    lines = "\n".join(block.lines for block in blocks if isinstance(block, Code))
    found = re.findall(r"^backlotfs .*", lines.replace("\\\n", ""), re.M)
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
