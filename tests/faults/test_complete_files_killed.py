# SPDX-License-Identifier: Apache-2.0
"""kill -9 at each step of making and of verifying a file: what is found afterwards is right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.source_tree import ROOT
from tests.unit.cache.disk_blocks import bytes_of, disk_bytes, keep, keep_whole, key, read, tier_at

#: Dies before its n-th call that changes something on the disk; ends well if there are fewer.
_MAKER = """
import os, signal, sys
from pathlib import Path
from tests.project.source_tree import ROOT
from backlotfs.cache.disk import slab_files
from tests.unit.cache.disk_blocks import keep_whole, tier_at
left = int(sys.argv[2])
def deadly(call):
    def counted(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return counted
for module, name in [
    *((os, name) for name in ("pwrite", "rename", "unlink", "fdatasync", "utime", "open")),
    (slab_files, "punch_hole"),
]:
    setattr(module, name, deadly(getattr(module, name)))
with tier_at(Path(sys.argv[1])) as tier:
    if sys.argv[3] == "verify":
        from backlotfs.cache.disk.pin_file import Pin
        assert tier.open_complete("E1", '"v1"/8202') is None
        assert tier.drain_files()
    else:
        keep_whole(tier, 3)
"""


@pytest.mark.long
@pytest.mark.parametrize("what", ["make", "verify"])
def test_killed_at_each_step(tmp_path: Path, what: str) -> None:
    """The version is complete, or a part of it is there, or nothing; and it can come again."""
    with tier_at(tmp_path / "first") as tier:
        keep(tier, key(0, "other"))
        if what == "verify":
            assert keep_whole(tier, 3).validator == '"v1"/8202'
            tier._jobs.close()
            tier._queue.close()
            tier._folder.close()
            tier._closed = True
    calls, alive = 0, False
    while not alive:
        calls += 1
        folder = tmp_path / f"t{calls}"
        shutil.copytree(tmp_path / "first", folder)
        done = subprocess.run(
            [sys.executable, "-c", _MAKER, folder, str(calls), what],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        alive = done.returncode == 0
        assert alive or done.returncode == -signal.SIGKILL, done.stderr
        for _ in range(2):
            with tier_at(folder) as tier:
                version = keep_whole(tier, 3)
                assert disk_bytes(folder) <= tier.budget_bytes
                whole = bytes_of(version)
                for number in range(3):
                    assert read(tier, key(number, *version)) == whole[number * 4096 :][:4096]
                file = tier.open_complete(*version)
                if file is None:
                    assert tier.drain_files()
                    file = tier.open_complete(*version)
                assert file is not None
                assert os.pread(file, 10**6, 0) == whole
                os.close(file)
                assert sorted(path.name for path in (folder / "files").iterdir()) == [
                    f"E1 [E1 {version.word >> 32:08x}]"
                ]
        shutil.rmtree(folder)
    assert calls > (10 if what == "make" else 5)
