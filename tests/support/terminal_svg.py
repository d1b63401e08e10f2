# SPDX-License-Identifier: Apache-2.0
"""What a console has recorded, as SVG that fetches nothing from anybody."""

from __future__ import annotations

import re

from rich.console import Console

#: Fonts that rich would have every reader fetch from somebody's server.
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.S)


def svg_of(console: Console, title: str, unique_id: str) -> str:
    """The picture of a terminal, with lines that do not end in spaces."""
    svg = console.export_svg(title=title, unique_id=unique_id)
    return "\n".join(line.rstrip() for line in _FONTS.sub("", svg).splitlines()) + "\n"
