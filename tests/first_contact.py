# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.first_contact``: run the tutorial, draw what it printed, for README and docs.

Nothing in the picture is typed by hand. ``make screenshot`` is the same with what it needs.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.support.commands import ROOT
from tests.support.terminal_svg import svg_of
from tests.support.tutorial import run_all
from tests.support.written_commands import Entered

PICTURE = ROOT / "docs" / "images" / "first-contact.svg"
#: How the commands that only prepare begin.
_NOT_SHOWN = ("mkdir ", "ffmpeg ")
_WIDTH = 104


def drawn(entered: Sequence[Entered]) -> str:
    """A terminal with these commands and what they printed, as SVG."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for one in entered:
        if one.command.startswith(_NOT_SHOWN):
            continue
        console.print(Text("$ ", "green").append(one.command, "bold"), soft_wrap=False)
        if one.output:
            console.print(Text(one.output.rstrip("\n")))
    return svg_of(console, "backlotfs", "first-contact")


def main() -> None:
    """Draw it anew."""
    with tempfile.TemporaryDirectory() as folder:
        entered = run_all(Path(folder))
    wrong = [one for one in entered if one.code]
    if wrong:
        raise SystemExit(f"`{wrong[0].command}` failed:\n{wrong[0].output}")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(entered), "utf-8")


if __name__ == "__main__":
    main()
