"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backlotfs.errors import BacklotError


class Verdict(StrEnum):
    """How it is with one precondition."""

    OK = "ok"
    NOTE = "note"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One precondition.

    :ivar check: its name, the same in every release.
    :ivar detail: what was found, in a few words.
    :ivar remedy: the command, or the step, that mends it.
    :ivar exit_code: what a mount would exit with because of it; 0 unless it failed.
    """

    check: str
    verdict: Verdict
    detail: str
    remedy: str | None = None
    exit_code: int = 0


def fine(check: str, detail: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Verdict.OK, detail)


def note(check: str, detail: str, remedy: str | None = None) -> Finding:
    """A mount works, but the reader may want to know."""
    return Finding(check, Verdict.NOTE, detail, remedy)


def failed(check: str, detail: str, remedy: str, exit_code: int = 1) -> Finding:
    """A mount does not work."""
    return Finding(check, Verdict.FAILED, detail, remedy, exit_code)


def failed_by(check: str, error: BacklotError, remedy: str | None = None) -> Finding:
    """What an error says; its sentence names the remedy after a semicolon, if it has one."""
    detail, _, said = error.advice().partition("; ")
    return Finding(check, Verdict.FAILED, detail, remedy or said or None, error.exit_code)
