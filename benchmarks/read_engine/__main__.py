# SPDX-License-Identifier: Apache-2.0
"""The command: measures cases, saves raw values, writes the page."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.read_engine.cases import CASES
from benchmarks.read_engine.contestants import DOWNLOADERS, OURS, PEERS
from benchmarks.read_engine.metrics import METRICS
from benchmarks.read_engine.page import section, verdicts
from benchmarks.read_engine.plots import draw
from benchmarks.read_engine.results import CaseResults, load
from benchmarks.read_engine.running import run_case
from benchmarks.report import write_section

_ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, save, show. A full run writes the page, a part of it only with ``--page``."""
    options = _options(arguments)
    names = options.cases or list(CASES)
    if options.rounds:
        with tempfile.TemporaryDirectory(prefix="backlotfs-bench-", dir=options.work) as name:
            work = Path(name)
            work.chmod(0o755)  # nginx's worker is nobody
            for case in names:
                results = run_case(CASES[case], options.rounds, work, frozenset(options.only))
                if not options.only:  # else it would take the place of what can be compared
                    results.save()
                _tell([results])
    full = not options.cases and not options.only and options.rounds >= _ROUNDS
    if full or options.page:
        found = [saved for case in CASES if (saved := load(case)) is not None]
        write_section("read_engine", section(found, draw(found)))


def _tell(found: list[CaseResults]) -> None:
    for case, target, value, verdict in verdicts(found):
        print(f"{case.name}: {METRICS[target.metric].title} {target.text}: {value} {verdict}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.read_engine")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), metavar="CASE", default=[])
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="0: only what was saved")
    everyone = [OURS.name, *(peer.name for peer in (*PEERS, *DOWNLOADERS))]
    parser.add_argument("--only", nargs="*", choices=everyone, metavar="CONTESTANT", default=[])
    parser.add_argument("--work", type=Path, default=Path("/dev/shm"), help="on tmpfs")
    parser.add_argument("--page", action="store_true", help="write the page, whatever was run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
