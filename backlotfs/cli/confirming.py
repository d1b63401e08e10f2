# SPDX-License-Identifier: Apache-2.0
"""Questions that are asked before something is deleted."""

from __future__ import annotations

import sys

import click

from backlotfs.errors import SettingsError


def on_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str) -> None:
    """Ask, and return if the answer is yes.

    :raises SettingsError: nobody can answer. :raises click.Abort: the answer is no.
    """
    if not on_terminal():
        raise SettingsError("nobody can answer here; confirm it with --yes")
    click.confirm(question, abort=True)
