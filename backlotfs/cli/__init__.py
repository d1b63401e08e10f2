"""The command line: options in, one line and an exit code out.

Exit codes: 0 fine, 1 failed, 2 usage or settings, 3 credentials refused, 4 the API cannot be
reached, 5 FUSE is not usable. Each failure is one line on stderr that names the remedy.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from backlotfs import __version__
from backlotfs.cli.lazy_group import LazyGroup
from backlotfs.errors import BacklotError
from backlotfs.log import excepthooks
from backlotfs.log.terminal import say

#: Command to where it is. Loaded when it is asked for: the server's libraries alone would take a
#: quarter of a second of every mount's start.
_COMMANDS = {
    "Begin": {
        "demo": "backlotfs.demo.command:demo",
        "config": "backlotfs.cli.config:config",
        "doctor": "backlotfs.cli.doctor:doctor",
    },
    "Mount": {
        "mount": "backlotfs.cli.mount:mount",
        "umount": "backlotfs.cli.mount:umount",
        "status": "backlotfs.cli.status:status",
        "stats": "backlotfs.cli.stats:stats",
        "refresh": "backlotfs.cli.status:refresh",
    },
    "Copy, with proof": {
        "export": "backlotfs.cli.export:export",
        "verify": "backlotfs.cli.verify:verify",
    },
    "Have files at hand": {
        "warm": "backlotfs.cli.warm:warm",
        "pin": "backlotfs.cli.pin:pin",
        "unpin": "backlotfs.cli.pin:unpin",
        "pins": "backlotfs.cli.pin:pins",
        "thumbnails": "backlotfs.cli.thumbnails:thumbnails",
    },
    "Without a mount": {
        "ls": "backlotfs.cli.library:list_library",
        "info": "backlotfs.cli.library:info",
        "emulator": "backlotfs.emulator.command:emulator",
        "completion": "backlotfs.cli.completion:completion",
    },
}


@click.group(
    cls=LazyGroup,
    places=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__)
def commands() -> None:
    """A Backlot video library as a read-only folder of original source files."""


def usage_line(error: click.ClickException) -> str:
    """What is wrong with the words of a command, and where the right ones are, in one line."""
    said = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or "; " in said or said.endswith("?"):
        return said
    if isinstance(error, click.NoSuchOption):
        said = f"No such option {error.option_name!r}"
        if isinstance(context.command, click.Group):
            return f"{said} before the command; try it after: {context.command_path} COMMAND …"
        near = error.possibilities
        said += f" (did you mean {near[0]}?)" if near else ""
    return f"{said}; see: {context.command_path} --help"


def main() -> None:
    """The entry point of ``backlotfs``."""
    with contextlib.suppress(OSError):  # what `ps` shows, and a mount knows us by: not "python3"
        Path("/proc/self/comm").write_text("backlotfs", "ascii")
    try:
        with excepthooks.reported(click.ClickException, click.Abort, BacklotError):
            code = commands(prog_name="backlotfs", standalone_mode=False)
    except click.ClickException as error:
        if "\n" in error.format_message():
            error.show()  # a group without a command: its help
        else:
            say(f"backlotfs: {usage_line(error)}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BacklotError as error:
        say(f"backlotfs: {error.advice()}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
