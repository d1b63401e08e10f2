"""Mounts that an earlier, killed run of the tests left behind.

pytest removes the folders of earlier runs; a dead mount in one of them makes that fail, long after
the run that is to blame.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from backlotfs.kernel.mount_table import our_mounts
from backlotfs.kernel.outside import look
from tests.support.mounting import detach


def clear_dead_mounts(below: Path | None = None) -> list[Path]:
    """Unmount our mounts in pytest's folders whose process is gone; another run's live ones stay.

    :param below: where to look; None: in the folder for temporary files.
    :returns: what was unmounted.
    """
    root = (below or Path(tempfile.gettempdir())).resolve()
    cleared = []
    for entry in our_mounts():
        place = Path(entry.mountpoint)
        if place.is_relative_to(root) and look(place).dead:
            detach(place)
            cleared.append(place)
    return cleared
