# SPDX-License-Identifier: Apache-2.0
"""The command line: a group of commands, each imported when it is used.

Exit codes: 0 success, 1 failure, 2 usage or settings, 3 credentials refused, 4 API not reachable,
5 FUSE not usable. A failure is one line on stderr that says what to do.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from backlotfs import __version__
from backlotfs.errors import BacklotError, install_extra
from backlotfs.log import excepthooks
from backlotfs.log.terminal import prepare_streams, say, write

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Command(NamedTuple):
    """A command that is not imported yet.

    :ivar place: where the command is defined: ``module:attribute``. :ivar purpose: its short help.
    """

    place: str
    purpose: str


#: Heading of the help, then the names of its commands.
_COMMANDS = {
    "Start": {
        "demo": _Command(
            "backlotfs.demo.command:demo", "Sample library, mount and guided tour; cleans up."
        ),
        "config": _Command(
            "backlotfs.cli.config:config",
            "Create, list, show and remove the profiles of libraries.",
        ),
        "doctor": _Command(
            "backlotfs.cli.doctor:doctor", "Check the prerequisites of a mount and suggest fixes."
        ),
    },
    "Mount": {
        "mount": _Command(
            "backlotfs.cli.mount:mount", "Mount the library on MOUNTPOINT, read-only."
        ),
        "umount": _Command(
            "backlotfs.cli.umount:umount", "Unmount MOUNTPOINT, even if its mount is dead."
        ),
        "status": _Command(
            "backlotfs.cli.status:status",
            "Show the state of a mount: library, sizes, cache, throughput, credits, errors, "
            "readers.",
        ),
        "stats": _Command(
            "backlotfs.cli.status:stats",
            "Show what a mount has read since it started: for which programs, from where, at "
            "what cost.",
        ),
        "refresh": _Command(
            "backlotfs.cli.status:refresh", "Make a mount fetch the changes of the library now."
        ),
    },
    "Verified copies": {
        "export": _Command(
            "backlotfs.cli.export:export",
            "Copy files and folders SRC of a mount into the folder DEST, verified, with a "
            "manifest.",
        ),
        "verify": _Command(
            "backlotfs.cli.export:verify",
            "Check every file in DEST against the manifest that `export` wrote there.",
        ),
    },
    "Local files": {
        "warm": _Command(
            "backlotfs.cli.warm:warm",
            "Fetch files, or all files below folders, of a running mount into its disk cache.",
        ),
        "pin": _Command(
            "backlotfs.cli.pin:pin",
            "Fetch files, or all files that are below folders now, and keep them in the disk "
            "cache.",
        ),
        "unpin": _Command(
            "backlotfs.cli.pin:unpin",
            "Unpin files, or all files below folders; their blocks are evicted when room is "
            "needed.",
        ),
        "pins": _Command(
            "backlotfs.cli.pin:pins",
            "List the pinned files of a mount, and how much of each is in the disk cache.",
        ),
        "thumbnails": _Command(
            "backlotfs.cli.thumbnails:thumbnails",
            "Fill your thumbnail cache for files, or all files below folders, of a running mount.",
        ),
        "cache": _Command(
            "backlotfs.cli.cache:cache", "List or clear what mounts keep on this disk."
        ),
        "catalog": _Command(
            "backlotfs.cli.catalog:catalog", "Export or import the listing of a library."
        ),
    },
    "Without a mount": {
        "ls": _Command(
            "backlotfs.cli.library:list_library",
            "List the library without a mount: one asset per line, with its file name in a mount.",
        ),
        "info": _Command(
            "backlotfs.cli.library:info",
            "Show all metadata of ASSET, an embed code or a file name in a mount.",
        ),
        "emulator": _Command(
            "backlotfs.emulator.command:emulator",
            "Serve a folder of media, or a made-up library, as Backlot did.",
        ),
        "completion": _Command(
            "backlotfs.cli:completion", "Print the completion script for SHELL."
        ),
    },
}
#: The modules that the extra ``emulator`` installs.
_SERVER_LIBRARIES = ("aiohttp", "watchfiles")
_ALL = {name: command for part in _COMMANDS.values() for name, command in part.items()}


class _LazyGroup(click.Group):
    """Imports a command when it is used (click's documentation, "Lazily Loading Subcommands")."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names in alphabetical order."""
        return sorted(_ALL)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _ALL:
            return super().get_command(ctx, cmd_name)
        module, _, name = _ALL[cmd_name].place.partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name not in _SERVER_LIBRARIES:
                raise
            return _not_installed(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """:raises click.UsageError: there is no such command; suggests a similar one."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib  # late: only a mistyped command needs this module

            near = difflib.get_close_matches(name, _ALL, 1)
            guess = f"; did you mean: {ctx.command_path} {near[0]}" if near else ""
            raise click.UsageError(f"No such command {name!r}{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands under their headings, the names in one column."""
        width = max(map(len, _ALL))
        for heading, part in _COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", _purpose(name)) for name in part])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands that start with ``incomplete``, and the options."""
        from click.shell_completion import CompletionItem  # late: only completion needs this class

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [
            *(CompletionItem(name, help=_purpose(name)) for name in names),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]


def _purpose(name: str) -> str:
    """The short help of a command, or the extra that has to be installed first."""
    if name == "emulator" and not all(map(importlib.util.find_spec, _SERVER_LIBRARIES)):
        return _needs_extra()
    return _ALL[name].purpose


def _needs_extra() -> str:
    return f"Needs an extra: {install_extra('emulator')}"


def _not_installed(name: str) -> click.Command:
    how = install_extra("emulator")

    def refuse() -> None:
        raise click.UsageError(f"this command needs an extra; install it: {how}")

    return click.Command(
        name,
        callback=refuse,
        help=_needs_extra(),
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
    """  # click does not wrap the lines after \b
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
    # `ps` shows this name, and a mount recognizes this program by it. The default is "python3".
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("backlotfs", "ascii")
    prepare_streams()
    atexit.register(gc.freeze)  # or Python searches for cycles at its exit, for 0.1 s
    try:
        with excepthooks.reported(click.ClickException, click.Abort, BacklotError):
            code = commands(prog_name="backlotfs", standalone_mode=False)
    except MountEnded:
        # The normal exit of Python would crash if a thread of the mount started during the exit.
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
