"""The command line: options in, one line and an exit code out.

Exit codes: 0 fine, 1 failed, 2 usage or settings, 3 credentials refused, 4 the API cannot be
reached, 5 FUSE is not usable. Each failure is one line on stderr that names the remedy.
"""

from __future__ import annotations

import importlib
import sys

import click

from backlotfs import __version__, crashes
from backlotfs.errors import BacklotError

#: Command to where it is. Loaded when it is asked for: the server's libraries alone would take a
#: quarter of a second of every mount's start.
_COMMANDS = {
    "completion": "backlotfs.cli.completion:completion",
    "config": "backlotfs.cli.config:config",
    "demo": "backlotfs.demo.command:demo",
    "doctor": "backlotfs.cli.doctor:doctor",
    "emulator": "backlotfs.emulator.command:emulator",
    "export": "backlotfs.cli.export:export",
    "info": "backlotfs.cli.library:info",
    "ls": "backlotfs.cli.library:list_library",
    "mount": "backlotfs.cli.mount:mount",
    "pin": "backlotfs.cli.pin:pin",
    "pins": "backlotfs.cli.pin:pins",
    "refresh": "backlotfs.cli.status:refresh",
    "stats": "backlotfs.cli.stats:stats",
    "status": "backlotfs.cli.status:status",
    "thumbnails": "backlotfs.cli.thumbnails:thumbnails",
    "warm": "backlotfs.cli.warm:warm",
    "umount": "backlotfs.cli.mount:umount",
    "unpin": "backlotfs.cli.pin:unpin",
    "verify": "backlotfs.cli.verify:verify",
}


class _LateCommands(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return sorted(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,
        cmd_name: str,
    ) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
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


def _not_installed(name: str) -> click.Command:
    def refuse() -> None:
        raise click.UsageError("this command needs an extra: pip install 'backlotfs[emulator]'")

    return click.Command(
        name,
        callback=refuse,
        help="Needs: pip install 'backlotfs[emulator]'",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=_LateCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def commands() -> None:
    """A Backlot video library as a read-only folder of original source files."""


def main() -> None:
    """The entry point of ``backlotfs``."""
    try:
        with crashes.reported(click.ClickException, click.Abort, BacklotError):
            code = commands(prog_name="backlotfs", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BacklotError as error:
        click.echo(f"backlotfs: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
