"""Exports that are disturbed at any moment, in a model and by real kills.

Seeded, as the model of the mount is; ``BACKLOTFS_MODEL_SEED=N`` chooses other runs.
"""

from __future__ import annotations

import os
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from backlotfs.export import exporter
from tests.model.export_machine import DEEDS, ExportMachine

SEED = int(os.environ.get("BACKLOTFS_MODEL_SEED", "5"))
RUNS = int(os.environ.get("BACKLOTFS_EXPORT_MODEL_RUNS", "200"))


def test_what_is_verified_is_right_and_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names like ours, anything in DEST, kills, replaced sources, links swapped in: always."""
    monkeypatch.setattr(exporter, "RETRY_PAUSE_S", 0.0)
    began = time.monotonic()
    ExportMachine.done.clear()
    chosen = settings(
        max_examples=RUNS,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(ExportMachine), settings=chosen)
    each = ", ".join(f"{count} {name}" for name, count in ExportMachine.done.most_common())
    sys.stdout.write(f"seed {SEED}, {time.monotonic() - began:.0f} s: {each}\n")
    for happened in ("copied", "verified", "unchanged", "failed", "verify"):
        assert ExportMachine.done[happened] > RUNS / 2
    for deed in DEEDS:
        assert ExportMachine.done[f"{deed} in export"] > 0
