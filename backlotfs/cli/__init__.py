"""The command line: options in, one line and an exit code out.

Exit codes: 0 fine, 1 failed, 2 usage or settings, 3 credentials refused, 4 the API cannot be
reached, 5 FUSE is not usable. Each failure is one line on stderr that names the remedy.
"""

from __future__ import annotations

import sys

import click

from backlotfs import __version__
from backlotfs.cli.library import info, list_library
from backlotfs.cli.mount import mount, umount
from backlotfs.cli.status import refresh, status
from backlotfs.errors import BacklotError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def commands() -> None:
    """A Backlot video library as a read-only folder of original source files."""


commands.add_command(mount)
commands.add_command(umount)
commands.add_command(list_library)
commands.add_command(info)
commands.add_command(status)
commands.add_command(refresh)


def _add_server_commands() -> None:
    """`emulator` and `demo` need the extra; without it they are simply not offered."""
    try:
        from backlotfs.demo.command import demo
        from backlotfs.emulator.command import emulator
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        return
    commands.add_command(emulator)
    commands.add_command(demo)


def main() -> None:
    """The entry point of ``backlotfs``."""
    _add_server_commands()
    try:
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
