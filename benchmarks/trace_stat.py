"""Count what the first ``stat`` of a file passes whose size is not known: functions, calls, files.

The library is listed and nothing was probed. The API is one that counts credits, so every call has
to be paid for. A ``stat`` of the file asks for a probe, waits for it, and gets the size. Every call
of the package on every thread is counted, those of the emulator left out. It takes a second:

    .venv/bin/python -m benchmarks.trace_stat [--list]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import CodeType, FrameType

import backlotfs
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account, MountSettings
from backlotfs.emulator import EmulatedAsset, Emulator, Library, SyntheticContent
from backlotfs.mount.stack import Stack, build_stack

_PACKAGE = Path(backlotfs.__file__).parent
_FILE_BYTES = 512 * 1024 * 1024
#: What happens after the answer (the turn is given back, a next probe is looked for) ends in this.
_SETTLE_S = 0.2


class Recorder:
    """A profile function for all threads.

    :ivar functions: each function of the package with the number of its calls.
    """

    def __init__(self) -> None:
        self.functions: Counter[CodeType] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and not code.co_name.startswith("<") and _is_ours(code):
            self.functions[code] += 1


def _is_ours(code: CodeType) -> bool:
    path = Path(code.co_filename)
    return path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "emulator")


def module_of(code: CodeType) -> str:
    """The module that holds a function, below the package."""
    return str(Path(code.co_filename).relative_to(_PACKAGE))


def trace_first_stat() -> Counter[CodeType]:
    """Ask for the size of one file of an emulated library, and count."""
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


def _trace(stack: Stack, clock: SystemClock) -> Counter[CodeType]:
    recorder = Recorder()

    def waiter() -> InterruptibleWait:
        return InterruptibleWait(Deadline(20.0, clock), lambda: False)

    threading.setprofile(recorder)  # for the threads of probes, none of which runs yet
    sys.setprofile(recorder)
    try:
        size = stack.namespace.attributes("/film.bin", waiter).size
        sys.setprofile(None)  # only this thread, which waits from here on
        time.sleep(_SETTLE_S)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if size != _FILE_BYTES:
        raise RuntimeError(f"the size was {size}")
    return Counter(recorder.functions)


def main() -> None:
    """Print the figures; with ``--list`` every function, too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name every function")
    options = parser.parse_args()
    functions = trace_first_stat()
    files = {module_of(code) for code in functions}
    print(f"{functions.total()} calls of {len(functions)} functions in {len(files)} files")
    if options.list:
        for code in sorted(functions, key=lambda code: (module_of(code), code.co_firstlineno)):
            print(f"{functions[code]:5}  {module_of(code):36} {code.co_qualname}")


if __name__ == "__main__":
    main()
