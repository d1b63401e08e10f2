# SPDX-License-Identifier: Apache-2.0
"""Completions do complete, by the shell itself where it is here anyway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backlotfs.cli import commands as program
from backlotfs.cli import script
from tests.support import commands

ASK = """
source "$1"
COMP_WORDS=({words}) COMP_CWORD={last}
_backlotfs_completion backlotfs
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [("backlotfs umo", "umount"), ("backlotfs config i", "init"), ("backlotfs ls --js", "--json")],
)
def test_bash_completes(words: str, found: str, tmp_path: Path) -> None:
    """Commands, commands of a group, options."""
    completions = tmp_path / "backlotfs-completion"
    completions.write_text(script("bash", program), "utf-8")
    launcher = tmp_path / "backlotfs"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m backlotfs "$@"\n', "utf-8")
    launcher.chmod(0o755)
    environment = commands.environment(tmp_path)
    done = subprocess.run(
        ["bash", "-c", ASK.format(words=words, last=words.count(" ")), "bash", completions],
        env={**environment, "LC_ALL": "C.UTF-8", "PATH": f"{tmp_path}:{environment['PATH']}"},
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout.split(), done.stderr) == ([found], "")


def test_the_others_are_registered_for_the_program() -> None:
    """By the names under which zsh and fish look for them."""
    assert script("zsh", program).startswith("#compdef backlotfs\n")
    assert "--command backlotfs " in script("fish", program)


def test_the_command_prints_the_same(tmp_path: Path) -> None:
    """``backlotfs completion``, after an installation with pip."""
    done = commands.run("completion", "fish", home=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, script("fish", program).strip())
