# SPDX-License-Identifier: Apache-2.0
"""Commands as click has them, in the words of a manual."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from backlotfs.manual.commands import command_of, marked


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option("-n", "--count", type=click.IntRange(1, 9), default=4, help="So many [4].")
@click.option("--mode", type=click.Choice(["a", "b"]), help="See --count.")
@click.option("--port", default=80, show_default=True, help="Where.")
@click.option("--is-flag", is_flag=True, help="Or not.")
@click.option("--more", multiple=True, help="Another.")
@click.option("--secret", hidden=True)
def sample(**_: object) -> None:
    """Do it, with PLACE. And more.

    \b
    as it
      stands

    Last, with -n and
    --count=N.
    """


def test_a_command() -> None:
    """Usage, purpose, text, and options with what they take."""
    command = command_of(sample, ("prog", "sample"))
    assert (command.name, command.page_name) == ("prog sample", "prog-sample")
    assert command.usage == "[OPTIONS] PLACE"
    assert command.purpose == "do it, with PLACE"
    assert command.description == (
        "Do it, with PLACE. And more.\n\n"
        "```text\nas it\nstands\n```\n\n"
        "Last, with `-n` and `--count=N`."
    )
    assert {o.term: o.meaning for o in command.options.values()} == {
        "`-n`, `--count` *N*": "So many [4].",
        "`--mode` *a|b*": "See `--count`.",
        "`--port` *N*": "Where [80].",
        "`--is-flag`": "Or not.",
        "`--more` *TEXT*": "Another. May be given several times.",
    }


def test_mount_options() -> None:
    """The same as fstab would have them."""
    options = command_of(sample, ("prog", "sample")).options
    assert options["count"].fstab_term == "`count`=*N*"
    assert options["is_flag"].fstab_term == "`is_flag`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see --json", "see `--json`"),
        ("`mount -f` and -f", "`mount -f` and `-f`"),
        ("a-b, re-read, -", "a-b, re-read, -"),
        ("--dry-run: nothing", "`--dry-run`: nothing"),
    ],
)
def test_options_in_a_text_are_marked(text: str, expected: str) -> None:
    """Outside what is marked already."""
    assert marked(text) == expected
