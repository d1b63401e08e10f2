"""Pages as roff: every character comes out as it went in, and nothing is taken for a request."""

from __future__ import annotations

import pytest

from backlotfs.manual import roff
from backlotfs.manual.blocks import Block, Code, Page, Section, term


def lines(*blocks: Block) -> list[str]:
    """What is below the heading of a section with these."""
    page = Page("name", 1, "purpose", (Section("TITLE", blocks),))
    text = roff.rendered(page, date="2026-01-31", version="1")
    return text.split('.SH "TITLE"\n')[1].splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain words", "plain words"),
        ("say `--force` to *NAME*", r"say \fB\-\-force\fR to \fINAME\fR"),
        (".config is no request", r"\&.config is no request"),
        ("'tis no request", r"\&'tis no request"),
        (r"C:\dir", r"C:\edir"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("*.example, 10.0.0.0/8", "*.example, 10.0.0.0/8"),
        ("wait …", r"wait \[u2026]"),
        ("`~/it's`", r"\fB\(ti/it\(aqs\fR"),
    ],
)
def test_text(text: str, line: str) -> None:
    """Fonts for the two kinds of markup, and no surprise."""
    assert lines(text) == [line]


def test_code_stays_as_it_is() -> None:
    """Not filled, and its leading dots and spaces are its own."""
    assert lines(Code("a -b\n  .x\n.y")) == [
        ".RS 4", ".nf", r"a \-b", r"  .x", r"\&.y", ".fi", ".RE",
    ]  # fmt: skip
    assert lines("text", Code("a"))[1:3] == [".sp", ".RS 4"]


def test_terms_and_what_they_mean() -> None:
    """A name alone is bold; a second text of the meaning stays below it."""
    assert lines("first", term("NAME", "one", "two"), "last") == [
        "first", ".TP", r"\fBNAME\fR", "one", ".IP", "two", ".PP", "last",
    ]  # fmt: skip


def test_long_texts_are_broken_between_words() -> None:
    """No line of the source is long, as tools for it expect."""
    broken = lines(" ".join(["word"] * 100))
    assert max(map(len, broken)) < 80
    assert " ".join(broken).split() == ["word"] * 100


def test_the_head() -> None:
    """What man(1), apropos(1) and whatis(1) read."""
    page = Page("a-b", 5, "do something", ())
    assert roff.rendered(page, date="2026-01-31", version="1.2").splitlines() == [
        '.TH "A-B" "5" "2026-01-31" "backlotfs 1.2"',
        ".SH NAME",
        r"a-b \- do something",
    ]
    assert page.file == "a-b.5"
    assert roff.link_to(page) == ".so man5/a-b.5\n"
