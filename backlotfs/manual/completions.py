"""Completions, as the shells find them: the same scripts as ``backlotfs completion`` prints."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from backlotfs.cli import commands
from backlotfs.cli.completion import VARIABLE

#: Shell to where it looks, below a ``share`` folder.
PLACES = {
    "bash": "bash-completion/completions/backlotfs",
    "zsh": "zsh/site-functions/_backlotfs",
    "fish": "fish/vendor_completions.d/backlotfs.fish",
}


def completion(shell: str) -> str:
    """The script for a shell of `PLACES`. It asks the program, so it is never out of date."""
    made = get_completion_class(shell)
    if made is None:
        raise AssertionError(f"click knows no completion for {shell}")
    return made(commands, {}, "backlotfs", VARIABLE).source() + "\n"
