# SPDX-License-Identifier: Apache-2.0
"""Answers of a mount, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backlotfs.mount.control.client import NoAnswer


class AnswersInTurn:
    """In place of `mount.control.client.ask`: each call gives the next; a `NoAnswer` is raised."""

    def __init__(self, *answers: dict[str, Any] | NoAnswer) -> None:
        self._answers = list(answers)

    def __call__(self, _place: Path, _command: str) -> dict[str, Any]:
        found = self._answers.pop(0)
        if isinstance(found, NoAnswer):
            raise found
        return found
