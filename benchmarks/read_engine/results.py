# SPDX-License-Identifier: Apache-2.0
"""What a run found, as a file per case: raw values, and when and where they were measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.report import PAGE

FOLDER = PAGE.parent.parent / "build" / "bench"


@dataclass(frozen=True, slots=True)
class CaseResults:
    """Of one case in one run.

    :ivar machine: when and where.
    :ivar values: of each round, by contestant and then by metric.
    """

    case: str
    machine: str
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """The fewest values of any metric; 0 without any."""
        counts = [len(row) for metrics in self.values.values() for row in metrics.values()]
        return min(counts, default=0)

    def add(self, contestant: str, numbers: dict[str, float]) -> None:
        """One round's numbers."""
        metrics = self.values.setdefault(contestant, {})
        for metric, value in numbers.items():
            metrics.setdefault(metric, []).append(value)

    def save(self, folder: Path = FOLDER) -> None:
        """Write ``<case>.json``, in the place of an earlier run's."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1)
        (folder / f"{self.case}.json").write_text(text + "\n", "utf-8")


def load(case: str, folder: Path = FOLDER) -> CaseResults | None:
    """The latest results of a case; None: there are none."""
    try:
        fields = json.loads((folder / f"{case}.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    return CaseResults(**fields)
