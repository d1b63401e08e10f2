# SPDX-License-Identifier: Apache-2.0
"""What this process has open: to see whether something was left open.

Compare with ``<=`` and not with ``==``: threads of an earlier test may close theirs meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter


def open_files() -> Counter[str]:
    """How often each file is open; each socket and each pipe has a number of its own."""
    found: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found[os.readlink(f"/proc/self/fd/{descriptor}")] += 1
    return found
