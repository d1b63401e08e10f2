# SPDX-License-Identifier: Apache-2.0
"""A line that all connections share: the loopback of a network namespace, limited by the kernel.

The process that opens it, and what it starts meanwhile, live in that namespace. Needs root and tc.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator

_NAME = f"backlotfs-bench-{os.getpid()}"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
#: What may wait in the line, as in a switch; more is dropped, and the sender learns its rate.
_QUEUE = "50ms"


@contextlib.contextmanager
def shared_line(rate_bytes_s: float) -> Iterator[None]:
    """Be in a network of its own, whose loopback carries so many bytes a second in all.

    Threads that run already stay where they are.

    :raises SystemExit: not root, or ip or tc is missing.
    """
    if os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        raise SystemExit("a shared line needs root, ip and tc: apt-get install iproute2")
    with contextlib.ExitStack() as stack:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, home)
        _run("ip", "netns", "add", _NAME)
        stack.callback(_run, "ip", "netns", "delete", _NAME)
        inside = ["ip", "netns", "exec", _NAME]
        _run(*inside, "ip", "link", "set", "lo", "up")
        limit = ["tbf", "rate", f"{rate_bytes_s * 8:.0f}bit", "burst", "256kb", "latency", _QUEUE]
        _run(*inside, "tc", "qdisc", "add", "dev", "lo", "root", *limit)
        line = os.open(f"/run/netns/{_NAME}", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, line)
        _enter(line)
        stack.callback(_enter, home)
        yield


def _enter(network: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, _NEW_NETWORK):
        code = ctypes.get_errno()
        raise SystemExit(f"cannot enter a network namespace: {os.strerror(code)}")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
