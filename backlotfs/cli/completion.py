"""``backlotfs completion``: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

#: By click's rule for a program called backlotfs.
VARIABLE = "_BACKLOTFS_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: backlotfs completion bash > ~/.local/share/bash-completion/completions/backlotfs
    zsh:  backlotfs completion zsh > ~/.zfunc/_backlotfs   (with fpath+=~/.zfunc before compinit)
    fish: backlotfs completion fish > ~/.config/fish/completions/backlotfs.fish
    """  # \b is click's: keep these lines as they are
    click.echo(script(shell, context.find_root().command))


def script(shell: str, program: click.Command) -> str:
    """The completion script of ``backlotfs`` for a shell; it asks the program for its commands."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    return made(program, {}, "backlotfs", VARIABLE).source()
