# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.crash.reader FOLDER SEED``: read files of a mount that dies and comes back.

Lists, opens, reads here and there, compares every byte; until its stdin is closed. Then it prints
one JSON object: reads, bytes, what was wrong, and how often which errno came.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.crash.made_library import MASTER, matching, size_of
from tests.support.made_assets import KIB

_MASTER_VERSIONS = range(1000)


class Reader:
    """One reader's work and what came of it.

    :ivar wrong: a line for each answer that no version of the file explains.
    """

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self._folder = folder
        self._dice = dice
        self._likely = 0
        self.reads = 0
        self.bytes = 0
        self.wrong: list[str] = []
        self.errors: Counter[str] = Counter()

    def once(self) -> None:
        """Read some of one file. Errors of the mount are counted: it may be dead."""
        try:
            names = os.listdir(self._folder)
            if names:
                self._file(self._dice.choice([*names, MASTER]))
        except OSError as error:
            self.errors[errno.errorcode[error.errno or 0]] += 1
        time.sleep(0.02)  # others want the processor, too

    def _file(self, name: str) -> None:
        descriptor = os.open(self._folder / name, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size != size_of(name):
                self.wrong.append(f"{name} has {size} bytes")
            versions: Sequence[int] = self._versions(name)
            offset = self._dice.randrange(size_of(name))
            length = self._dice.choice([4 * KIB, 64 * KIB, 256 * KIB])
            for _ in range(self._dice.randrange(1, 8)):
                data = os.pread(descriptor, length, offset)
                # Less than was asked for is how the kernel ends a read whose rest fails.
                version = matching(name, data, offset, versions) if data else None
                if version is None:
                    self.wrong.append(f"{name}: {len(data)} bytes from {offset}")
                    return
                versions = [version]  # an open file is of one version
                self._likely = version if name == MASTER else self._likely
                self.reads += 1
                self.bytes += len(data)
                offset = (offset + length) % size_of(name)
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _versions(self, name: str) -> Sequence[int]:
        if name != MASTER:
            return [0]
        near = range(max(0, self._likely - 2), self._likely + 3)
        return [*near, *_MASTER_VERSIONS]


def main(arguments: Sequence[str]) -> int:
    """Read until told to stop."""
    folder, seed = arguments
    reader = Reader(Path(folder), random.Random(int(seed)))
    told = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    while not told.is_set():
        reader.once()
    report = {
        "reads": reader.reads,
        "bytes": reader.bytes,
        "wrong": reader.wrong,
        "errors": reader.errors,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
