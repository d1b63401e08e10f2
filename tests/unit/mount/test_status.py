# SPDX-License-Identifier: Apache-2.0
"""Where the threads are, told without stopping them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Finalizers that give up the interpreter lock, while other threads come and go: in Python before
# 3.12.1 `sys._current_frames` blocks the whole process at once.
DUMPS = """
import gc, os, threading, time
from types import SimpleNamespace
from backlotfs.mount.status import (dump_state)

class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        for _ in range(200):
            time.sleep(0)

def come_and_go():
    while True:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

for _ in range(4):
    threading.Thread(target=come_and_go, daemon=True).start()
for _ in range(60):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
gc.set_threshold(50, 2, 2)
mount = SimpleNamespace(
    reading=SimpleNamespace(reader=SimpleNamespace(open_files=list)),
    catalog=SimpleNamespace(library=SimpleNamespace(rows=())),
)
for _ in range(5):
    for _ in range(30):
        Cycle()
    dump_state({"status": dict, "stats": dict}, mount)
print("told", flush=True)
os._exit(0)
"""


@pytest.mark.long
def test_a_dump_does_not_block_the_process() -> None:
    """Whatever the garbage collector finds meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", DUMPS], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "told\n", done.stderr
