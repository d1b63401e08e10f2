# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.crash [--kills N] [--seed N] [--readers N]``: kill mounts, print figures."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.crash import campaign
from tests.support.fuse_presence import missing_piece


def main(arguments: Sequence[str]) -> int:
    """0 when all was as it has to be, 1 at the first thing that was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many [100]")
    parser.add_argument("--readers", type=int, default=4, help="processes that read meanwhile [4]")
    parser.add_argument("--seed", type=int, help="of every choice [another each time]")
    options = parser.parse_args(arguments)
    missing = missing_piece()
    if missing is not None:
        sys.stderr.write(f"nothing can be mounted: {missing}\n")
        return 1
    seed = random.randrange(10**6) if options.seed is None else options.seed
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backlotfs-crash-") as folder:
        try:
            tally = campaign.run(
                Path(folder),
                options.kills,
                seed,
                readers=options.readers,
                say=lambda line: sys.stdout.write(f"{line}\n") and sys.stdout.flush(),
            )
        except AssertionError:
            sys.stdout.write(f"seed {seed}: {traceback.format_exc()}")
            return 1
    sys.stdout.write("\n".join(tally.lines()) + "\n")
    sys.stdout.write(f"seed {seed}, {time.monotonic() - began_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
