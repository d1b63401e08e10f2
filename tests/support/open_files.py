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
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            found[name.removesuffix(" (deleted)")] += 1  # it may be unlinked between two looks
    return found
