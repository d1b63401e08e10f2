"""``python -m backlotfs.manual DIR``: write man pages, completions and reference below DIR.

DIR is laid out as ``share`` is: ``~/.local/share`` is right for who installed with pip, and
``make install`` puts the same files below its PREFIX. ``doc/backlotfs`` has the reference.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from backlotfs import __version__
from backlotfs.manual import roff
from backlotfs.manual.completions import PLACES, completion
from backlotfs.manual.pages import all_pages
from backlotfs.manual.reference import reference


def generated() -> dict[str, str]:
    """Path below DIR to content; ``SOURCE_DATE_EPOCH`` dates the pages, for reproducible builds."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    made_at = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    pages = {page.name: page for page in all_pages()}
    files = {
        man(page.file): roff.rendered(page, date=f"{made_at:%Y-%m-%d}", version=__version__)
        for page in pages.values()
    }
    files[man("mount.fuse.backlotfs.8")] = roff.link_to(pages["mount.backlotfs"])
    files |= {path: completion(shell) for shell, path in PLACES.items()}
    files |= {f"doc/backlotfs/{name}": text for name, text in reference().items()}
    return files


def man(file: str) -> str:
    """Where a manual page has its place."""
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
