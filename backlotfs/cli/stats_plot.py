# SPDX-License-Identifier: Apache-2.0
"""``stats --plot FILE``: what a mount has read, as a picture for a report, drawn by matplotlib.

Names of programs are foreign text: they are escaped, and matplotlib must not interpret them as
formulas.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backlotfs.cache.memory import TIERS
from backlotfs.cli.read_rates import rates
from backlotfs.cli.status_text import rate, stats_lines
from backlotfs.errors import CommandFailed, SettingsError, install_extra
from backlotfs.log.terminal import in_words, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORMATS = {".svg": "svg", ".png": "png"}
#: Text near the beginning of each picture file, by which `check_file` recognizes such a file.
_MARK = "backlotfs stats"
_HEAD_BYTES = 4096
#: Number of time spans in the picture, and the most programs; all other programs are one bar.
_PARTS, _PROGRAMS = 240, 10
_COLOURS = {"memory": "#8ecae6", "disk": "#219ebc", "network": "#fb8500"}
_FETCHED_COLOUR = "#1b263b"
#: Lines of ``stats`` that the picture shows.
_FACTS = ("read", "fetched", "warmed", "never read", "next files", "requests", "passthrough")


def check_file(path: Path) -> None:
    """Check that a picture can be written there.

    :raises SettingsError: the suffix is not known, matplotlib is missing, or there is a file that
        is neither empty nor a picture of this command.
    :raises CommandFailed: the file that is there cannot be opened.
    """
    if path.suffix.lower() not in _FORMATS:
        raise SettingsError(f"{path} ends neither in .svg nor in .png; name the plot so")
    try:
        import matplotlib  # noqa: F401  # only to check that it is installed
    except ModuleNotFoundError:
        how = install_extra("plot")
        raise SettingsError(f"--plot needs an extra; install it: {how}") from None
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            head = file.read(_HEAD_BYTES) if regular else b""
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_be_written(path, error) from None
    if not regular or (head and _MARK.encode() not in head):
        raise SettingsError(f"{path} is there, and is no plot of this command; name another file")


def _open_at_once(path: str, flags: int) -> int:
    """Open a file. If it is a FIFO, do not wait for a program that writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def write_plot(answer: Mapping[str, Any], path: Path) -> None:
    """Draw an answer to ``stats`` into a file. After a failure the file is as it was before.

    :raises CommandFailed: the file cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with contextlib.ExitStack() as cleaning:
            with new.open("xb") as file:
                cleaning.callback(new.unlink, missing_ok=True)
                _draw(answer, file, _FORMATS[path.suffix.lower()])
            new.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from None


def _cannot_be_written(path: Path, error: OSError) -> CommandFailed:
    return CommandFailed(f"{path} cannot be written: {error.strerror}; name another file")


def _draw(answer: Mapping[str, Any], file: Any, kind: str) -> None:
    import matplotlib as mpl  # late: its import takes longer than all other imports
    from matplotlib.figure import Figure

    metadata = {"Title": _MARK} | ({"Date": None} if kind == "svg" else {})
    with (
        mpl.rc_context(
            {
                **mpl.rcParamsDefault,  # so that a matplotlibrc file has no effect
                "text.parse_math": False,
                "svg.fonttype": "none",
                "font.size": 8,
                "date.converter": "concise",
            }
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # matplotlib warns if a font lacks a character of a name
        figure = Figure(figsize=(10, 6), layout="constrained")
        panels = figure.subplot_mosaic([["time", "time"], ["programs", "facts"]])
        figure.suptitle(printable(f"{answer['source']} on {answer['mountpoint']}"))
        _over_time(panels["time"], answer["history"])
        _by_program(panels["programs"], answer["processes"])
        _facts(panels["facts"], dict(answer))
        for axes in (panels["time"], panels["programs"]):
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)


def _over_time(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw the rates over time: of reads, by where their bytes came from, and of fetches."""
    first_s, last_s = history[0]["at"], history[-1]["at"]
    each_s = max(1.0, last_s - first_s) / _PARTS
    edges = [first_s + number * each_s for number in range(_PARTS + 1)]
    # one offset for all times: at the end of summer time, local times go back an hour
    zone = datetime.fromtimestamp(last_s, UTC).astimezone().tzinfo
    times: list[Any] = [datetime.fromtimestamp(edge, zone) for edge in edges[1:]]

    def per_second(totals: Iterable[float]) -> list[float]:
        points = zip((point["at"] for point in history), totals, strict=True)
        return [value or 0.0 for value in rates(list(points), edges)]

    read = per_second(point["read_bytes"] for point in history)
    blocks = [per_second(point["blocks"].get(tier, 0) for point in history) for tier in TIERS]
    tiers = list(zip(*map(_by_tier, read, zip(*blocks, strict=True)), strict=True))
    axes.stackplot(
        times, *tiers, labels=[f"read from {tier}" for tier in TIERS],
        colors=[_COLOURS[tier] for tier in TIERS],
    )  # fmt: skip
    fetched = per_second(point["fetched_bytes"] for point in history)
    axes.plot(times, fetched, color=_FETCHED_COLOUR, linewidth=1, label="fetched")
    highest = max(*map(sum, zip(*tiers, strict=True)), *fetched)
    axes.margins(x=0)
    axes.set_ylim(0, 1.2 * highest or 1)  # the legend is above all curves
    axes.set_yticks(_ticks(highest))
    axes.yaxis.set_major_formatter(lambda value, _: rate(value))
    axes.set_title(f"{times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M %Z}")
    axes.legend(loc="upper left", frameon=False, ncols=4)


def _by_program(axes: Axes, processes: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a bar for each program, the largest reader on top, by where its bytes came from."""
    every = [
        (
            printable(name),
            _by_tier(usage["asked_bytes"], [usage["blocks"].get(tier, 0) for tier in TIERS]),
        )
        for name, usage in processes.items()
    ]
    shown = every[:_PROGRAMS]
    if others := every[_PROGRAMS:]:
        sums = [sum(column) for column in zip(*(tiers for _, tiers in others), strict=True)]
        shown.append((f"{len(others)} others", sums))
    heights = range(len(shown) - 1, -1, -1)
    begun = [0.0] * len(shown)
    for number, tier in enumerate(TIERS):
        widths = [tiers[number] for _, tiers in shown]
        axes.barh(list(heights), widths, left=begun, color=_COLOURS[tier])
        begun = [left + width for left, width in zip(begun, widths, strict=True)]
    axes.set_yticks(list(heights), [name for name, _ in shown])
    axes.xaxis.set_major_formatter(lambda value, _: in_words(value))
    axes.set_xticks(_ticks(max(begun, default=0.0)))
    axes.set_title("by program" if shown else "no program has read anything")


def _by_tier(read: float, blocks: Sequence[float]) -> list[float]:
    """The bytes read from each tier, in proportion to the blocks; zeros if there are no blocks."""
    total = sum(blocks)
    return [read * count / total if total > 0 else 0.0 for count in blocks]


def _ticks(highest: float) -> list[float]:
    """Five to eight round numbers of bytes from 0 to ``highest``; fewer if that is below 4."""
    step = 2.0 ** max(0, math.floor(math.log2(max(1.0, highest))) - 2)
    return [number * step for number in range(math.floor(highest / step) + 1)]


def _facts(axes: Axes, answer: dict[str, Any]) -> None:
    axes.axis("off")
    known = dict(stats_lines(answer))
    texts = [f"{name}: {printable(known[name])}" for name in _FACTS]
    axes.text(0, 1, "\n\n".join(texts), va="top", transform=axes.transAxes, wrap=True)
