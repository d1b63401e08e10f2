"""The kernel's own read-ahead on a mount: how large the reads are that it asks us for.

A FUSE mount begins with 128 KiB, eight requests for what one could carry. Only root may change it,
by a file in /sys; who is not goes on with less.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

#: One request of the kernel: 1 MiB is the most that it sends untuned.
READ_AHEAD_KB = 1024


def raise_read_ahead(device: int) -> bool:
    """Have the kernel ask for `READ_AHEAD_KB` at once. Whether it will.

    :param device: ``st_dev`` of the mountpoint.
    """
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        if int(setting.read_text()) < READ_AHEAD_KB:
            setting.write_text(str(READ_AHEAD_KB))
    except (OSError, ValueError) as error:
        log.debug("the kernel's read-ahead stays as it is: %s", error)
        return False
    return True
