"""Count what one cold READ passes: functions, calls and files of the package.

The READ wants 128 KiB in the middle of a file. The file is open, its URL is known, one READ at
another place came before, and there is no disk cache. The stack is the one that a mount builds; the
kernel is replaced by one request. Comprehensions and lambdas count as part of the function that
holds them. It takes a second:

    .venv/bin/python -m benchmarks.trace_read [--list]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import backlotfs
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account, MountSettings
from backlotfs.emulator import EmulatedAsset, Emulator, Library, SyntheticContent
from backlotfs.kernel.device import Device, ReadRequest
from backlotfs.kernel.read_requests import ReadRequests
from backlotfs.mount.stack import Stack, build_stack

_PACKAGE = Path(backlotfs.__file__).parent
_FILE_BYTES = 512 * 1024 * 1024
_READ_BYTES = 128 * 1024
#: What happens after the answer (the connection is given back, meters are told) ends within this.
_SETTLE_S = 0.2


class Trace(NamedTuple):
    """The functions of the package that were called while one READ was served.

    :ivar functions: each with the number of its calls.
    :ivar package_changes: how often a call led from one folder of the package to another.
    """

    functions: Counter[CodeType]
    package_changes: int

    @property
    def files(self) -> Counter[str]:
        """The modules that were passed, each with the number of its functions."""
        return Counter(module_of(code) for code in self.functions)


class _Recorder:
    """A profile function for all threads."""

    def __init__(self) -> None:
        self.active = False
        self.functions: Counter[CodeType] = Counter()
        self.package_changes = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if not self.active or event != "call" or not _is_ours(code):
            return
        self.functions[code] += 1
        caller = frame.f_back
        while caller is not None and not _is_ours(caller.f_code):
            caller = caller.f_back
        if caller is not None:
            here, there = module_of(caller.f_code), module_of(code)
            self.package_changes += here.split("/")[0] != there.split("/")[0]


def _is_ours(code: CodeType) -> bool:
    if code.co_name.startswith("<"):
        return False
    path = Path(code.co_filename)
    return path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "emulator")


def module_of(code: CodeType) -> str:
    """The module that holds a function, below the package."""
    return str(Path(code.co_filename).relative_to(_PACKAGE))


def trace_cold_read() -> Trace:
    """Serve one READ from an emulated source host, and count."""
    film = SyntheticContent(1, _FILE_BYTES)
    asset = EmulatedAsset("t" * 32, "film", "film.bin", film)
    with (
        Emulator(Library([asset])) as emulator,
        tempfile.TemporaryDirectory(prefix="backlotfs-trace-") as folder,
    ):
        account = Account(emulator.api_url, emulator.api_key, emulator.api_secret)
        clock = SystemClock()
        settings = MountSettings(account, Path("/unused"), cache_dir=Path(folder))
        with closing(build_stack(settings, clock, settle_s=2.0)) as stack:
            stack.catalog.load(Deadline(20.0, clock))
            return _trace(stack, clock)


def _trace(stack: Stack, clock: SystemClock) -> Trace:
    waiter = InterruptibleWait(Deadline(20.0, clock), lambda: False)
    target = stack.namespace.open("/film.bin", waiter)
    fh = stack.reading.reader.open(target.version, settling=target.settling, name="/film.bin").fh
    sink = os.open("/dev/null", os.O_WRONLY)
    reads = ReadRequests(
        Device(sink), stack.reading.reader.begin, clock, stack.reading.metrics.reads
    )
    recorder = _Recorder()
    threading.setprofile(recorder)  # no thread of the read path has started yet
    try:
        reads.serve(2, ReadRequest(fh, _FILE_BYTES // 4, _READ_BYTES))
        time.sleep(_SETTLE_S)
        recorder.active = True
        sys.setprofile(recorder)
        reads.serve(4, ReadRequest(fh, _FILE_BYTES // 2, _READ_BYTES))
        sys.setprofile(None)  # only this thread, which waits from here on
        time.sleep(_SETTLE_S)
        recorder.active = False
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        os.close(sink)
    if stack.reading.metrics.reads.total().asked_bytes != 2 * _READ_BYTES:
        raise RuntimeError("a READ was not answered in time")
    return Trace(recorder.functions, recorder.package_changes)


def main() -> None:
    """Print the figures; with ``--list`` every function, too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name every function")
    wanted = parser.parse_args()
    trace = trace_cold_read()
    print(
        f"{trace.functions.total()} calls of {len(trace.functions)} functions"
        f" in {len(trace.files)} files; the package changes {trace.package_changes} times"
    )
    if wanted.list:
        by_module = sorted(trace.functions, key=lambda code: (module_of(code), code.co_firstlineno))
        for code in by_module:
            print(f"{trace.functions[code]:5}  {module_of(code):36} {code.co_qualname}")


if __name__ == "__main__":
    main()
