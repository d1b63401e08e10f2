# SPDX-License-Identifier: Apache-2.0
"""Pictures of the results, as SVG: of each case, of its costs, and a short one for README."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.read_engine.cases import CASES
from benchmarks.read_engine.contestants import DOWNLOADERS, OURS, PEERS
from benchmarks.read_engine.metrics import METRICS
from benchmarks.read_engine.results import CaseResults
from benchmarks.read_engine.targets import Target
from benchmarks.report import PAGE

_FOLDER = PAGE.parent / "benchmarks"
_COLUMNS = 3
_OURS_COLOUR, _PEER_COLOUR, _LIMIT_COLOUR = "#d1495b", "#8d99ae", "#1b263b"
#: The copies that README shows, each with a title.
_COPIES = {
    "remote-cp": "1 file of 1 GiB",
    "remote-cp--r-takes": "30 files of 20 MB",
    "remote-cp--r-stills": "400 files of 1 MB",
}
#: Of several peers of a kind README shows the fastest.
_KINDS = {"rclone mount, best flags": PEERS, "best downloader, no mount": DOWNLOADERS}


def draw(found: Sequence[CaseResults], folder: Path = _FOLDER) -> list[str]:
    """Write the pictures. Returns their places below ``docs/``.

    What each case is about, and what reading costs in processor time and memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = [(one, CASES[one.case].shown) for one in found]
    costs = [
        (one, metric)
        for metric in ("cpu_s_per_gb", "pss_mb")
        for one in found
        if metric in one.values.get(OURS.name, {})
    ]
    places = []
    for name, panels in (("reading", shown), ("cost-of-reading", costs)):
        if panels:
            _save(panels, folder / f"{name}.svg")
            places.append(f"{folder.name}/{name}.svg")
    copies = [one for one in found if one.case in _COPIES]
    if len(copies) == len(_COPIES):
        _save_copies(copies, folder / "copies.svg")
    return places


def _save_copies(copies: Sequence[CaseResults], path: Path) -> None:
    """Draw the rates of a few copies beside the best peer of each kind."""
    with mpl.rc_context({"svg.hashsalt": "backlotfs", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 1.7), layout="constrained")
        names = [*reversed(_KINDS), OURS.name]  # from the lowest bar up
        colours = [_PEER_COLOUR] * len(_KINDS) + [_OURS_COLOUR]
        for place, results in zip(figure.subplots(1, len(copies)), copies, strict=True):
            peers = {
                kind: max(_rate(results, peer.name) for peer in _KINDS[kind]) for kind in _KINDS
            }
            rates = [peers.get(name, _rate(results, OURS.name)) for name in names]
            bars = place.barh(names, rates, color=colours)
            place.bar_label(bars, [f" {rate:.0f}" if rate else " not measured" for rate in rates])
            place.set_title(f"{_COPIES[results.case]}, MB/s", fontsize=9)
            place.margins(x=0.2)
            place.set_xticks([])
            if place is not figure.axes[0]:
                place.set_yticklabels([])
            for side in ("top", "right", "bottom"):
                place.spines[side].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _rate(results: CaseResults, name: str) -> float:
    """The median rate in MB/s; 0.0: the contestant took no part."""
    values = results.values.get(name, {}).get("rate_mb_s")
    return statistics.median(values) if values else 0.0


def _save(panels: Sequence[tuple[CaseResults, str]], path: Path) -> None:
    rows = math.ceil(len(panels) / _COLUMNS)
    # the same numbers give the same file, whenever and wherever they are drawn
    with mpl.rc_context({"svg.hashsalt": "backlotfs", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(11, 2.1 * rows), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
        for place, (results, metric) in zip(axes, panels, strict=False):
            _panel(place, results, metric)
        for place in axes[len(panels) :]:
            place.set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Axes, results: CaseResults, metric: str) -> None:
    """One bar for each contestant: the median, with a line from the least to the most."""
    case = CASES[results.case]
    names = [one.name for one in case.contestants if metric in results.values.get(one.name, {})]
    for height, name in enumerate(reversed(names)):
        values = results.values[name][metric]
        middle = statistics.median(values)
        colour = _OURS_COLOUR if name == OURS.name else _PEER_COLOUR
        axes.barh(height, middle, color=colour)
        axes.plot([min(values), max(values)], [height, height], color="black", linewidth=1)
        axes.annotate(f" {middle:.{METRICS[metric].digits}f}", (max(values), height), va="center")
    limit = next((_limit(one, results) for one in case.targets if one.metric == metric), None)
    if limit is not None:
        axes.axvline(limit, color=_LIMIT_COLOUR, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_title(f"{case.name}\n{METRICS[metric].title}")  # in one line they overlap
    axes.margins(x=0.18)
    axes.set_xlim(left=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _limit(target: Target, results: CaseResults) -> float | None:
    """Where the target lies on the metric's own scale; None: a peer of it was not measured."""
    limit = target.at_least if target.at_least is not None else target.at_most
    if limit is None or not target.of:
        return limit
    metrics = [results.values.get(name, {}).get(target.metric) for name in target.of]
    medians = [statistics.median(values) for values in metrics if values]
    if not medians:
        return None
    return limit * (max(medians) if target.at_least is not None else min(medians))
