"""A group of commands that are imported when they are named, and shown by what they are for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

#: What people type, and how near it has to be to a command to be taken for it.
_NEAR = 0.6
#: Of a command's purpose in the list, which wraps: click would cut it to a line.
_PURPOSE_CHARACTERS = 200


class LazyGroup(click.Group):
    """Imports a command's module when the command is named.

    :param places: heading of ``--help`` → name of a command → ``module:attribute``.
    """

    def __init__(
        self, *arguments: Any, places: Mapping[str, Mapping[str, str]], **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self._headings = places
        self._places = {name: at for part in places.values() for name, at in part.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """By name."""
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        place = self._places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name != "aiohttp":
                raise
            return _not_installed(cmd_name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """:raises click.UsageError: there is none of this name; with the nearest that there is."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self._places, 1, _NEAR)
            guess = f"; did you mean: {ctx.command_path} {near[0]}" if near else ""
            raise click.UsageError(f"No such command {name!r}{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each under its heading, the names in one column."""
        width = max(map(len, self._places))
        for heading, part in self._headings.items():
            rows = []
            for name in part:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append(
                        (f"{name:{width}}", command.get_short_help_str(_PURPOSE_CHARACTERS))
                    )
            with formatter.section(heading):
                formatter.write_dl(rows)


def _not_installed(name: str) -> click.Command:
    def refuse() -> None:
        raise click.UsageError("this command needs an extra: pip install 'backlotfs[emulator]'")

    return click.Command(
        name,
        callback=refuse,
        help="Needs: pip install 'backlotfs[emulator]'",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
