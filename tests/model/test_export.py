# SPDX-License-Identifier: Apache-2.0
"""Exports that are disturbed at any moment, in a model and by real kills.

Seeded, as the model of the mount is; ``BACKLOTFS_MODEL_SEED=N`` chooses other runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from backlotfs.export import exporter
from tests.model.export_machine import DEEDS, ExportMachine
from tests.support import commands

SEED = int(os.environ.get("BACKLOTFS_MODEL_SEED", "5"))
RUNS = int(os.environ.get("BACKLOTFS_EXPORT_MODEL_RUNS", "130"))


@pytest.mark.long
@pytest.mark.timeout(600)
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
        assert ExportMachine.done[f"{deed} in export"] + ExportMachine.done[f"{deed} in verify"]


@pytest.mark.long
def test_real_kills(tmp_path: Path) -> None:
    """SIGKILL, again and again, until an export ends: no half file under its name, ever."""
    library, copy = tmp_path / "library", tmp_path / "copy"
    (library / "News").mkdir(parents=True)
    random = Random(SEED)
    names = [f"{folder}{number}.mov" for number in range(12) for folder in ("", "News/")]
    for name in names:
        (library / name).write_bytes(random.randbytes(random.randrange(3_000_000)))
    kills = 0
    with (tmp_path / "export.log").open("w") as log:
        while True:
            done_before = len(list(copy.rglob("*.mov")))
            process = commands.start("export", f"{library}/", copy, home=tmp_path, log=log)
            while process.poll() is None:
                if kills < 4 and len(list(copy.rglob("*.mov"))) >= done_before + 3:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
            code = process.wait(60)
            for path in copy.rglob("*.mov"):
                assert path.read_bytes() == (library / path.relative_to(copy)).read_bytes()
            if code != -signal.SIGKILL:
                break
    assert code == 0, (tmp_path / "export.log").read_text()
    assert kills > 0
    verified = commands.run("verify", copy, "--source", f"{library}/", home=tmp_path)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith(f"{len(names)} files")
    assert sorted(path.name for path in copy.iterdir() if path.suffix != ".mov") == [
        "MANIFEST.sha256",
        "News",
    ]
