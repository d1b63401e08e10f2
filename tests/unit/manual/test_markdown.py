"""Sections as Markdown."""

from __future__ import annotations

from backlotfs.manual import markdown
from backlotfs.manual.blocks import Code, Section, term


def test_a_page() -> None:
    """Headings by depth, terms as a list, what belongs to a term indented below it."""
    made = markdown.rendered(
        "Title",
        "Words.",
        [
            Section(
                "One",
                ("text", term("NAME", "meaning", "more"), term("`-x` *N*", Code("a\nb")), "end"),
                (Section("Below", (Code("c"),)),),
            )
        ],
    )
    assert made.split("\n") == [
        *("# Title", "", "Words.", "", "## One", "", "text", ""),
        *("- `NAME`: meaning", "", "    more", ""),
        *("- `-x` *N*:", "", "    ```text", "    a", "    b", "    ```", ""),
        *("", "end", "", "### Below", "", "```text", "c", "```", ""),
    ]
