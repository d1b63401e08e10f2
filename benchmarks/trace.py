# SPDX-License-Identifier: Apache-2.0
"""Count what one operation passes: functions, calls and files of the package, on all threads.

``read``: a READ of 128 KiB in the middle of a file. The file is open, its URL is known, one READ at
another place came before, and there is no disk cache.

``stat``: the first ``stat`` of a file whose size is not known. The API counts credits. The thread
asks for a probe, waits for it and gets the size.

The stack is the one that a mount builds, over the emulator, which is not counted. Comprehensions
and lambdas count as part of the function that holds them. It takes a second:

    .venv/bin/python -m benchmarks.trace read|stat [--list]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import CodeType, FrameType

import backlotfs
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account, MountSettings
from backlotfs.emulator import EmulatedAsset, Emulator, Library, SyntheticContent
from backlotfs.kernel.protocol import Device, ReadRequest
from backlotfs.kernel.read_requests import ReadContext, ReadRequests
from backlotfs.mount.stack import Stack, build_stack

_PACKAGE = Path(backlotfs.__file__).parent
_FILE_BYTES = 512 * 1024 * 1024
_READ_BYTES = 128 * 1024
#: What happens after the answer (a connection or a turn is given back) ends within this.
_SETTLE_S = 0.2
_CLOCK = SystemClock()


class Recorder:
    """A profile function for all threads.

    :ivar functions: the functions of the package that were called, each with its number of calls.
    :ivar package_changes: how often a call led from one folder of the package to another.
    """

    def __init__(self) -> None:
        self.active = True
        self.functions: Counter[CodeType] = Counter()
        self.package_changes = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Count a call of the package while `active`."""
        code = frame.f_code
        if not self.active or event != "call" or not _is_ours(code):
            return
        self.functions[code] += 1
        caller = frame.f_back
        while caller is not None and not _is_ours(caller.f_code):
            caller = caller.f_back
        if caller is not None:
            here, there = _module_of(caller.f_code), _module_of(code)
            self.package_changes += here.split("/")[0] != there.split("/")[0]

    def report(self, *, every_function: bool) -> None:
        """Print the figures."""
        files = {_module_of(code) for code in self.functions}
        print(
            f"{self.functions.total()} calls of {len(self.functions)} functions in {len(files)} "
            f"files; the package changes {self.package_changes} times"
        )
        if every_function:
            places = sorted(
                self.functions, key=lambda code: (_module_of(code), code.co_firstlineno)
            )
            for code in places:
                print(f"{self.functions[code]:5}  {_module_of(code):36} {code.co_qualname}")


def _is_ours(code: CodeType) -> bool:
    if code.co_name.startswith("<"):
        return False
    path = Path(code.co_filename)
    return path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "emulator")


def _module_of(code: CodeType) -> str:
    return str(Path(code.co_filename).relative_to(_PACKAGE))


def _waiter() -> InterruptibleWait:
    return InterruptibleWait(Deadline(20.0, _CLOCK), lambda: False)


def cold_read(stack: Stack, recorder: Recorder) -> None:
    """Serve a READ at a place that was not read before."""
    reading = stack.reading
    version = stack.namespace.open(stack.namespace.find("/film.bin"), _waiter())
    fh = reading.reader.open(version, name="film.bin")
    sink = os.open("/dev/null", os.O_WRONLY)
    context = ReadContext(_CLOCK, reading.metrics.reads)
    reads = ReadRequests(Device(sink), reading.reader.begin, context)
    recorder.active = False
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
        os.close(sink)
    if reading.metrics.reads.total().asked_bytes != 2 * _READ_BYTES:
        raise RuntimeError("a READ was not answered in time")


def first_stat(stack: Stack, recorder: Recorder) -> None:
    """Ask for the size of a file that was never probed."""
    threading.setprofile(recorder)  # for the threads of probes, none of which runs yet
    sys.setprofile(recorder)
    size = stack.namespace.attributes(stack.namespace.find("/film.bin"), _waiter).size
    sys.setprofile(None)  # only this thread, which waits from here on
    time.sleep(_SETTLE_S)
    if size != _FILE_BYTES:
        raise RuntimeError(f"the size was {size}")


def trace(operation: Callable[[Stack, Recorder], None]) -> Recorder:
    """Run an operation over a listed library of one file, and count."""
    film = SyntheticContent(1, _FILE_BYTES)
    asset = EmulatedAsset("t" * 32, "film", "film.bin", film)
    recorder = Recorder()
    with (
        Emulator(Library([asset])) as emulator,
        tempfile.TemporaryDirectory(prefix="backlotfs-trace-") as folder,
    ):
        account = Account(emulator.api_url, emulator.api_key, emulator.api_secret)
        settings = MountSettings(account, Path("/unused"), cache_dir=Path(folder))
        with closing(build_stack(settings, _CLOCK)) as stack:
            stack.catalog.load(Deadline(20.0, _CLOCK))
            try:
                operation(stack, recorder)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
                recorder.active = False  # threads that have begun keep their profile function
    return recorder


def main() -> None:
    """Print the figures; with ``--list`` every function, too."""
    operations = {"read": cold_read, "stat": first_stat}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operation", choices=operations)
    parser.add_argument("--list", action="store_true", help="name every function")
    wanted = parser.parse_args()
    trace(operations[wanted.operation]).report(every_function=wanted.list)


if __name__ == "__main__":
    main()
