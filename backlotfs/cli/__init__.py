"""The command line: a group of commands, each imported when it is used.

Exit codes: 0 success, 1 failure, 2 usage or settings, 3 credentials refused, 4 API not reachable,
5 FUSE not usable. A failure is one line on stderr that says what to do.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from pathlib import Path

import click

from backlotfs import __version__
from backlotfs.errors import BacklotError, install_extra
from backlotfs.log import excepthooks
from backlotfs.log.terminal import prepare_streams, say, write

#: Heading of the help, name of the command, where it is: ``module:attribute``.
_COMMANDS = {
    "Start": {
        "demo": "backlotfs.demo.command:demo",
        "config": "backlotfs.cli.config:config",
        "doctor": "backlotfs.cli.doctor:doctor",
    },
    "Mount": {
        "mount": "backlotfs.cli.mount:mount",
        "umount": "backlotfs.cli.mount:umount",
        "status": "backlotfs.cli.status:status",
        "stats": "backlotfs.cli.status:stats",
        "refresh": "backlotfs.cli.status:refresh",
    },
    "Verified copies": {
        "export": "backlotfs.cli.export:export",
        "verify": "backlotfs.cli.export:verify",
    },
    "Local files": {
        "warm": "backlotfs.cli.warm:warm",
        "pin": "backlotfs.cli.pin:pin",
        "unpin": "backlotfs.cli.pin:unpin",
        "pins": "backlotfs.cli.pin:pins",
        "thumbnails": "backlotfs.cli.thumbnails:thumbnails",
        "cache": "backlotfs.cli.cache:cache",
    },
    "Without a mount": {
        "ls": "backlotfs.cli.library:list_library",
        "info": "backlotfs.cli.library:info",
        "emulator": "backlotfs.emulator.command:emulator",
        "completion": "backlotfs.cli:completion",
    },
}
_PLACES = {name: place for part in _COMMANDS.values() for name, place in part.items()}
#: Longest description of a command in the help, which wraps it; click would cut it to one line.
_HELP_CHARACTERS = 200


class _LazyGroup(click.Group):
    """Imports a command when it is used (click's documentation, "Lazily Loading Subcommands")."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names in alphabetical order."""
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _PLACES:
            return super().get_command(ctx, cmd_name)
        module, _, name = _PLACES[cmd_name].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name != "aiohttp":
                raise
            return _not_installed(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """:raises click.UsageError: there is no such command; suggests a similar one."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, _PLACES, 1)
            guess = f"; did you mean: {ctx.command_path} {near[0]}" if near else ""
            raise click.UsageError(f"No such command {name!r}{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, the names in one column."""
        width = max(map(len, _PLACES))
        for heading, part in _COMMANDS.items():
            rows = []
            for name in part:
                command = self.get_command(ctx, name)
                if command is not None:
                    text = command.get_short_help_str(_HELP_CHARACTERS)
                    rows.append((f"{name:{width}}", text))
            with formatter.section(heading):
                formatter.write_dl(rows)


def _not_installed(name: str) -> click.Command:
    how = install_extra("emulator")

    def refuse() -> None:
        raise click.UsageError(f"this command needs an extra; install it: {how}")

    return click.Command(
        name,
        callback=refuse,
        help=f"Needs an extra: {how}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def commands() -> None:
    """Mount a Backlot video library as a read-only folder of original source files."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: backlotfs completion bash > ~/.local/share/bash-completion/completions/backlotfs
    zsh:  backlotfs completion zsh > ~/.zfunc/_backlotfs   (with fpath+=~/.zfunc before compinit)
    fish: backlotfs completion fish > ~/.config/fish/completions/backlotfs.fish
    """  # click keeps the lines after \b as they are
    write(script(shell, context.find_root().command))


def script(shell: str, program: click.Command) -> str:
    """The completion script of ``backlotfs`` for a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    return kind(program, {}, "backlotfs", "_BACKLOTFS_COMPLETE").source()


def usage_line(error: click.ClickException) -> str:
    """One line that says what is wrong with a command line and where the help is."""
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


class MountEnded(SystemExit):
    """A mount in the foreground has ended; its threads may still run, or be about to start."""


def main() -> None:
    """The entry point of ``backlotfs``."""
    # The name that `ps` shows, and by which a mount recognizes this program; else "python3".
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("backlotfs", "ascii")
    prepare_streams()
    try:
        with excepthooks.reported(click.ClickException, click.Abort, BacklotError):
            code = commands(prog_name="backlotfs", standalone_mode=False)
    except MountEnded:
        # Python's own end would crash if a thread of the mount starts during it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    except click.ClickException as error:
        if "\n" in error.format_message():
            error.show()  # the help of a group that was used without a command
        else:
            say(f"backlotfs: {usage_line(error)}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BacklotError as error:
        say(f"backlotfs: {error.advice()}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
