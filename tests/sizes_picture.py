# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.sizes_picture``: draw when the sizes of a new library are known, for the docs.

The times are those that ``status`` computes for "about … left": the rate limiter's own, for an
account that nobody else uses. ``make screenshot`` draws it with what it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from backlotfs.api.rate_limiter import WINDOW_S, Priority, QuotaWindow, RateStatus
from tests.support.commands import ROOT

PICTURE = ROOT / "docs" / "images" / "sizes-over-time.svg"
LIBRARIES = (1_000, 10_000, 100_000)
CALLS_A_MINUTE = 300
#: Assets that one call lists, and the share of the calls that a mount leaves to others.
_PAGE, _RESERVE = 500, 0.2
_POINTS = 400


def known_after_s(files: int, of: int, calls: int = CALLS_A_MINUTE) -> float:
    """Seconds from the mount until so many sizes are known, in a library ``of`` so many files."""
    window = QuotaWindow(credits=calls, window_s=WINDOW_S, reserve=_RESERVE)
    window.on_sent(Priority.LISTED, 0.0)
    window.on_answer(RateStatus(calls - 1, WINDOW_S), 0.0)
    pages = math.ceil(of / _PAGE)
    return window.next_slot_s(Priority.LISTED, 0.0, pages - 1 + files - 1)


def draw(path: Path, libraries: Sequence[int] = LIBRARIES) -> None:
    """Write the picture; the same numbers give the same file."""
    with mpl.rc_context(
        {
            **mpl.rcParamsDefault,  # whatever a matplotlibrc says
            "svg.hashsalt": "backlotfs",
            "svg.fonttype": "none",
            "font.size": 9,
        }
    ):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        for of in libraries:
            counts = sorted({max(1, round(of * part / _POINTS)) for part in range(_POINTS + 1)})
            minutes = [known_after_s(count, of) / 60 for count in counts]
            axes.plot(minutes, [100 * count / of for count in counts], label=f"{of:,} files")
        axes.set_xscale("symlog", linthresh=1)
        ticks = {0: "0", 1: "1 min", 4: "4 min", 10: "10 min", 40: "40 min", 120: "2 h", 420: "7 h"}
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
        axes.set_xlim(0, 600)
        axes.set_ylim(0, 105)
        axes.set_ylabel("% of the sizes known")
        axes.set_xlabel(f"time since the first mount, at {CALLS_A_MINUTE} calls a minute")
        axes.legend(frameon=False, loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(PICTURE)
