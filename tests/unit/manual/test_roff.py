# SPDX-License-Identifier: Apache-2.0
"""Pages as roff: every character comes out as it went in, and nothing is taken for a request."""

from __future__ import annotations

import pytest

from backlotfs.manual import roff


def lines(markdown: str) -> list[str]:
    """What is below the heading of a section with this text."""
    page = f"# name(1): purpose\n\n## TITLE\n\n{markdown}\n"
    text = roff.rendered(page, date="2026-01-31", version="1")
    return text.split('.SH "TITLE"\n')[1].splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain words", "plain words"),
        ("broken\nlines", "broken lines"),
        ("say `--force` to *NAME*", r"say \fB\-\-force\fR to \fINAME\fR"),
        (".config is no request", r"\&.config is no request"),
        ("'tis no request", r"\&'tis no request"),
        (r"C:\dir", r"C:\edir"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("*.example, 10.0.0.0/8", "*.example, 10.0.0.0/8"),
        ("wait …", "wait ..."),
        ("café", r"caf\[u00E9]"),
        ("`~/it's`", r"\fB\(ti/it\(aqs\fR"),
    ],
)
def test_text(text: str, line: str) -> None:
    """Fonts for the two kinds of markup, and no surprise."""
    assert lines(text) == [line]


def test_code_stays_as_it_is() -> None:
    """Not filled, and its leading dots, spaces and empty lines are its own."""
    assert lines("```text\na -b\n\n  .x\n.y\n```") == [
        ".RS 4", ".nf", r"a \-b", "", r"  .x", r"\&.y", ".fi", ".RE",
    ]  # fmt: skip
    assert lines("text\n\n```text\n- a: b\n```")[1:5] == [".sp", ".RS 4", ".nf", r"\- a: b"]


def test_terms_and_what_they_mean() -> None:
    """A list between two paragraphs; a meaning may go on in indented lines."""
    assert lines("first\n\n- `NAME` *N*: one\n  and: more\n- `B`: two\n\nlast") == [
        *("first", ".TP", r"\fBNAME\fR \fIN\fR", "one and: more"),
        *(".TP", r"\fBB\fR", "two", ".PP", "last"),
    ]


def test_sections_in_a_section() -> None:
    """No paragraph mark after a heading."""
    assert lines("### Below\n\na\n\nb") == ['.SS "Below"', "a", ".PP", "b"]


def test_long_texts_are_broken_between_words() -> None:
    """No line of the source is long, as tools for it expect."""
    broken = lines(" ".join(["word"] * 100))
    assert max(map(len, broken)) < 80
    assert " ".join(broken).split() == ["word"] * 100


def test_the_head() -> None:
    """What man(1), apropos(1) and whatis(1) read."""
    page = roff.rendered("# a-b.c(5): do something\n", date="2026-01-31", version="1.2")
    assert page.splitlines() == [
        '.TH "A-B.C" "5" "2026-01-31" "backlotfs 1.2"',
        ".SH NAME",
        r"a-b.c \- do something",
    ]
