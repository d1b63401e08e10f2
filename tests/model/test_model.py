# SPDX-License-Identifier: Apache-2.0
"""A real mount and a plain model of it, driven by the same operations in any order.

Seeded, so that every run of ``make test`` does the same; ``BACKLOTFS_MODEL_SEED=N`` chooses others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Serve
from tests.model.live_mount import LiveMount
from tests.model.machine import MountMachine
from tests.model.mapper import Mapper
from tests.support.long_runs import few_of

pytestmark = pytest.mark.mounted

SEED = int(os.environ.get("BACKLOTFS_MODEL_SEED", "5"))
RUNS = int(os.environ.get("BACKLOTFS_MODEL_RUNS", "95"))
STEPS = 60
AT_LEAST_OF_A_RUN = 40


@pytest.fixture
def live(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    """One emulator and one mount for all runs."""
    with Mapper() as mapper:
        live = LiveMount(serve(), tmp_path_factory.mktemp("model"), mapper)
        yield live
        live.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", few_of([RUNS // 4, RUNS], RUNS // 4))
def test_the_mount_does_what_the_model_says(live: LiveMount, examples: int) -> None:
    """Thousands of operations: not one byte, error, size or name that the model forbids."""
    began = time.monotonic()

    class Machine(MountMachine):
        def __init__(self) -> None:
            super().__init__(live)

    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        # A failure is shown as it came: to shrink it would take the mount minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(SEED)(Machine), settings=chosen)
    finally:
        sys.stdout.write("\n".join(live.failures))
    made = live.operations.total()
    each = ", ".join(f"{count} {name}" for name, count in live.operations.most_common())
    seconds = time.monotonic() - began
    sys.stdout.write(f"seed {SEED}: {made} operations in {seconds:.0f} s: {each}\n")
    assert made >= AT_LEAST_OF_A_RUN * examples
