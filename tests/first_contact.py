"""``python -m tests.first_contact``: run the tutorial, draw what it printed, for README and docs.

Nothing in the picture is typed by hand. ``make screenshot`` is the same with what it needs.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.support.commands import ROOT
from tests.support.tutorial import Entered, run_all

PICTURE = ROOT / "docs" / "images" / "first-contact.svg"
#: How the commands that only prepare begin.
_NOT_SHOWN = ("mkdir ", "ffmpeg ")
_WIDTH = 104
#: Fonts that rich would have every reader fetch from somebody's server.
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.S)


def drawn(entered: Sequence[Entered]) -> str:
    """A terminal with these commands and what they printed, as SVG."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for one in entered:
        if one.command.startswith(_NOT_SHOWN):
            continue
        console.print(Text("$ ", "green").append(one.command, "bold"), soft_wrap=False)
        if one.output:
            console.print(Text(one.output.rstrip("\n")))
    svg = console.export_svg(title="backlotfs", unique_id="first-contact")
    return "\n".join(line.rstrip() for line in _FONTS.sub("", svg).splitlines()) + "\n"


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
