"""Completions, as the shells find them: the same scripts as ``backlotfs completion`` prints."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from backlotfs.cli import commands
from backlotfs.cli.completion import VARIABLE

#: Shell to the file's name in the folder where the shell looks.
FILES = {"bash": "backlotfs", "zsh": "_backlotfs", "fish": "backlotfs.fish"}


def completion(shell: str) -> str:
    """The script for a shell of `FILES`. It asks the program, so it is never out of date."""
    made = get_completion_class(shell)
    if made is None:
        raise AssertionError(f"click knows no completion for {shell}")
    return made(commands, {}, "backlotfs", VARIABLE).source() + "\n"
