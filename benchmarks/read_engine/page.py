# SPDX-License-Identifier: Apache-2.0
"""The section of the page: what was promised and what was measured, then each case in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.read_engine.cases import CASES
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import DOWNLOADERS, OURS, PEERS
from benchmarks.read_engine.metrics import METRICS
from benchmarks.read_engine.results import CaseResults
from benchmarks.read_engine.targets import NotMeasured, Target
from benchmarks.report import met, spread, table

_INTRODUCTION = """\
nginx serves the files from tmpfs. The emulator signs URLs that point to nginx. *Local* is
loopback. *Remote* is 30 ms to the first byte, 90 ms for the first request of a connection, and 60
MB/s (2^20) for each connection; a plain GET checks this before each case. In each round, each
contestant makes a new mount, in rotating order, with an empty page cache and all sizes known.
backlotfs has no options except the place of its cache, which is on tmpfs, as for rclone. CPU and
memory are those of all processes of the mount. Memory is summed PSS, the higher of two samples a
second. *Fetched / asked* is the bytes that nginx sent for each byte that the program received. In
the plots, a line is the target. Each case has its own date and load: compare the contestants of one
case, not two cases."""


def section(found: Sequence[CaseResults], plots: Iterable[str]) -> str:
    """The page's section about these results, as Markdown.

    :param plots: pictures, by their place below ``docs/``.
    """
    pictures = "\n\n".join(f"![{_alternative(place)}]({place})" for place in plots)
    parts = [_INTRODUCTION, _contestants(), _promises(found), pictures]
    parts += [_case(CASES[one.case], one) for one in found]
    return "\n\n".join(part for part in parts if part)


def verdicts(found: Sequence[CaseResults]) -> list[tuple[Case, Target, str, str]]:
    """Each target with its value and whether it is met, as the page shows them."""
    rows = []
    for one in found:
        case = CASES[one.case]
        for target in case.targets:
            try:
                value = f"{target.value(one.values):.{2 if target.of else _digits(target)}f}"
                verdict = met(target.met(one.values))
            except NotMeasured:
                value, verdict = "", "not measured"
            rows.append((case, target, value, verdict))
    return rows


def _contestants() -> str:
    known = (*PEERS, *DOWNLOADERS)
    lines = [f"- {peer.name}: `{' '.join(peer.flags)}`" for peer in known if peer.flags]
    return "\n".join([f"- {OURS.name}, rclone: no flags", *lines])


def _promises(found: Sequence[CaseResults]) -> str:
    rows = []
    for case, target, value, verdict in verdicts(found):
        title = METRICS[target.metric].title
        rows.append([case.title, f"{title} {target.text}", value, verdict])
    return table(["case", "target", "measured", ""], rows)


def _case(case: Case, results: CaseResults) -> str:
    values = results.values
    names = list(dict.fromkeys(name for metrics in values.values() for name in metrics))
    rows = [
        [one.name, *(_cell(values[one.name], metric) for metric in names)]
        for one in case.contestants
        if one.name in values
    ]
    head = ["", *(METRICS[name].title for name in names)]
    title = f"**{case.title}** (`{case.name}`), {results.rounds} rounds, {results.machine}:"
    return f"{title}\n\n{table(head, rows)}"


def _cell(metrics: Mapping[str, Sequence[float]], name: str) -> str:
    return spread(metrics[name], METRICS[name].digits) if name in metrics else ""


def _digits(target: Target) -> int:
    return METRICS[target.metric].digits


def _alternative(place: str) -> str:
    return place.rpartition("/")[2].removesuffix(".svg").replace("-", " ")
