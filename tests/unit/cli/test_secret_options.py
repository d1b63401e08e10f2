# SPDX-License-Identifier: Apache-2.0
"""The process list shows every argument to every user of the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from backlotfs import cli

#: Of an option's or argument's name. A switch (`--keyring`) takes nothing, and may be called so.
_SECRET = re.compile(r"secret|key|password|token|signature", re.IGNORECASE)


def commands(command: click.Command) -> Iterator[click.Command]:
    """It and all below it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner)


def test_no_option_takes_a_secret() -> None:
    """Not of any command: key and secret come from the environment, a file, or a program."""
    parameters = [
        one
        for command in commands(cli.commands)
        for one in command.params
        if not getattr(one, "is_flag", False)
    ]
    assert len(parameters) > 50
    assert [one.opts for one in parameters if _SECRET.search(" ".join(one.opts))] == []
