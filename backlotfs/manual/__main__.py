# SPDX-License-Identifier: Apache-2.0
"""``python -m backlotfs.manual DIR``: write man pages, completions and reference below DIR.

DIR gets the layout of a ``share`` folder: after ``pip install``, use ``~/.local/share``. ``make
install`` writes the same files below its PREFIX. The reference is in ``doc/backlotfs``.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from backlotfs import __version__
from backlotfs.cli import commands, script
from backlotfs.manual import roff
from backlotfs.manual.pages import man_pages, site_pages

#: Shell to the path of its completions below a ``share`` folder.
COMPLETIONS = {
    "bash": "bash-completion/completions/backlotfs",
    "zsh": "zsh/site-functions/_backlotfs",
    "fish": "fish/vendor_completions.d/backlotfs.fish",
}


def generated() -> dict[str, str]:
    """Path below DIR to content of each file.

    The date of the pages is ``SOURCE_DATE_EPOCH`` if it is set, for reproducible builds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    made_at = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    files = {
        man(name): roff.rendered(page, date=f"{made_at:%Y-%m-%d}", version=__version__)
        for name, page in man_pages().items()
    }
    files[man("mount.fuse.backlotfs.8")] = ".so man8/mount.backlotfs.8\n"
    files |= {path: script(shell, commands) + "\n" for shell, path in COMPLETIONS.items()}
    files |= {f"doc/backlotfs/{name}": text for name, text in site_pages().items()}
    return files


def man(file: str) -> str:
    """The path of a manual page below DIR."""
    return f"man/man{file[-1]}/{file}"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def write(folder: Path) -> None:
    """Write man pages, completions and the reference of the site below DIR."""
    for name, text in generated().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(write(prog_name="python -m backlotfs.manual"))
