# SPDX-License-Identifier: Apache-2.0
"""The page of results: each command writes its own section of it, and no other's."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import backlotfs

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_HEAD = """# Measurements

The command that each section names has written the section. The first line says when and on which
machine. A ratio compares medians of one run. The spread is the smallest and the largest value.
"""
#: Sections in the order of the page, with the command that writes each.
_SECTIONS = {
    "read_engine": "## Reading\n\n`make bench`",
    "cache_open": "## Opening a large disk cache\n\n`make bench-cache`",
    "cached_files": "## Files in the disk cache\n\n`make bench-cache`",
    "metadata": "## A hundred thousand files\n\n`make bench-metadata`",
    "credits": "## What a library costs the account\n\n`make bench-credits`",
    "first_day": "## Copies on the first day\n\n`make bench-credits`",
    "fsspec_ranges": "## Many parts at once by fsspec\n\n`make bench-fsspec`",
    "cluster_export": "## A library of 500 TB on a cluster\n\n`make bench-cluster`",
}


def machine() -> str:
    """When, where, and how busy it was with other things."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, backlotfs {backlotfs.__version__}, "
        f"Python {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} cores, {pages / 2**30:.0f} GiB of memory, load {load}"
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """``median (min-max)``."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def met(kept: bool) -> str:
    """The verdict on what was promised."""
    return "met" if kept else "**missed**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(name: str, body: str, *, page: Path = PAGE) -> None:
    """Put ``body`` in the place of what the section held; the rest of the page stays.

    :param name: a key of `_SECTIONS`.
    """
    before = page.read_text("utf-8") if page.exists() else ""
    parts = []
    for section, title in _SECTIONS.items():
        start, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
        if section == name:
            held = f"\n{title}, {machine()}.\n\n{body.strip()}\n"
        else:
            found = re.search(re.escape(start) + "(.*?)" + re.escape(end), before, re.DOTALL)
            held = found[1] if found else f"\n{title}: not measured yet.\n"
        parts.append(f"{start}{held}{end}\n")
    page.write_text("\n".join([_HEAD, *parts]), "utf-8")
    print(f"{body}\n\nwritten to {page}")
