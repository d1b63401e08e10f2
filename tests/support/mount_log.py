# SPDX-License-Identifier: Apache-2.0
"""The log of a mount as records, and the guard: a warning that no test claimed fails the test."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) (\S+): ")
#: As the journal takes it: sd-daemon(3)'s priority in front, no time.
_JOURNAL = re.compile(r"<(\d)>\S")
_PRIORITIES = {"7": "DEBUG", "6": "INFO", "4": "WARNING", "3": "ERROR", "2": "CRITICAL"}
_QUIET = frozenset({"DEBUG", "INFO"})


class LogRecord(NamedTuple):
    """One record.

    :ivar level: ``INFO`` …, or ``STRAY`` for what no logger wrote: libfuse, the interpreter.
    :ivar text: its lines, a traceback included.
    """

    level: str
    text: str


def parse_log(text: str) -> list[LogRecord]:
    """Records in order; lines without a head belong to the record before them."""
    records: list[LogRecord] = []
    for line in text.splitlines():
        head = _HEAD.match(line)
        priority = _JOURNAL.match(line)
        if head:
            records.append(LogRecord(head.group(1), line))
        elif priority:
            records.append(LogRecord(_PRIORITIES[priority.group(1)], line))
        elif line.startswith("{"):
            records.append(LogRecord(str(json.loads(line)["level"]).upper(), line))
        elif records:
            records[-1] = records[-1]._replace(text=f"{records[-1].text}\n{line}")
        else:
            records.append(LogRecord("STRAY", line))
    return records


def parse_json(text: str) -> list[dict[str, Any]]:
    """The lines of a JSON log. :raises ValueError: one is no JSON object."""
    found = [json.loads(line) for line in text.splitlines()]
    if not all(isinstance(line, dict) for line in found):
        raise ValueError("a line is JSON, but no object")
    return found


def unexpected(text: str, claimed: list[re.Pattern[str]]) -> list[str]:
    """Records that should not be there: louder than INFO, stray, or with a traceback.

    :param claimed: patterns of what the test has announced.
    """
    return [
        record.text
        for record in parse_log(text)
        if (record.level not in _QUIET or "Traceback" in record.text)
        and not any(pattern.search(record.text) for pattern in claimed)
    ]
