# SPDX-License-Identifier: Apache-2.0
"""Which version of which object."""

from __future__ import annotations

import pytest

from backlotfs.errors import ContentChanged
from backlotfs.source.version import SourceVersion, version_of
from tests.fakes.records import LAST_MODIFIED, LAST_MODIFIED_S, source_version


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (source_version(), True),
        (source_version(etag='"v2"'), False),
        (source_version(etag='W/"v1"'), False),
        (source_version(size=1001), False),
        (source_version(last_modified="Wed, 02 Mar 2016 00:00:00 GMT"), True),
        (source_version(etag=None), False),
    ],
)
def test_validators_tell_versions_apart(other: SourceVersion, same: bool) -> None:
    """By ETag and size; a touched date alone is no new version."""
    assert (source_version().validator == other.validator) is same


def test_a_weak_etag_may_name_several_versions() -> None:
    """So the date counts beside it."""
    weak = source_version(etag='W/"v1"')
    other = source_version(etag='W/"v1"', last_modified="Wed, 02 Mar 2016 00:00:00 GMT")
    assert weak.validator != other.validator
    assert weak.validator == source_version(etag='W/"v1"').validator


@pytest.mark.parametrize(
    ("etag", "opaque"),
    [('"v1"', "v1"), ('W/"v1"', "v1"), ("v1", "v1"), ('""', ""), ('"w/1"', "w/1"), (None, None)],
)
def test_opaque_tag(etag: str | None, opaque: str | None) -> None:
    """What the weak comparison compares."""
    assert source_version(etag=etag).opaque_tag == opaque


def test_without_an_etag_the_date_counts() -> None:
    """The second-best is better than nothing; with neither there is still the size."""
    dated = source_version(etag=None)
    assert dated.validator != source_version(etag=None, last_modified="later").validator
    bare = source_version(etag=None, last_modified=None)
    assert bare.validator != source_version(size=5, etag=None, last_modified=None).validator


@pytest.mark.parametrize(
    ("etag", "strong"),
    [
        ('"v1"', '"v1"'),
        ('""', '""'),
        ('W/"v1"', None),
        ("v1", None),
        (None, None),
        ('"v1', None),
        ('"v1", "v2"', None),
        ('"v 1"', None),
        ('"v1"x', None),
    ],
)
def test_strong_etag(etag: str | None, strong: str | None) -> None:
    """Only one that is quoted can be a precondition; of two nobody knows which one is meant."""
    assert source_version(etag=etag).strong_etag == strong


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (LAST_MODIFIED, LAST_MODIFIED_S),
        ("Tuesday, 01-Mar-16 21:49:25 GMT", LAST_MODIFIED_S),
        ("Tue Mar  1 21:49:25 2016", LAST_MODIFIED_S),
        ("Tue Mar  1 21:49:25 2016, Wed Mar  2 21:49:25 2016", None),
        ("Tue, 01 Mar 2016 21:49:25 -0000", None),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("Tue, 99 Mar 2016 21:49:25 GMT", None),
        ("Tue, 01 Mar 99999999999 21:49:25 GMT", None),
        # what some servers send of no date; year 0 is none
        ("Mon, 01 Jan 0001 00:00:00 GMT", -62_135_596_800),
        ("Mon Jan  1 00:00:00 0001", -62_135_596_800),
        ("Sat, 01 Jan 0000 00:00:00 GMT", None),
        ("Tue, 01 Mar 2016 21:49:25 +0000", LAST_MODIFIED_S),
    ],
)
def test_last_modified_s(text: str | None, seconds: int | None) -> None:
    """Seconds since the epoch in UTC, or None: a hostile date raises nothing."""
    found = source_version(last_modified=text).last_modified_s
    assert found == seconds or (text is not None and text.endswith("-0000"))


def test_version_of_headers() -> None:
    """Empty headers are absent ones."""
    headers = {"etag": "", "last-modified": LAST_MODIFIED}
    assert version_of("E1", headers, 5) == SourceVersion("E1", 5, None, LAST_MODIFIED)


@pytest.mark.parametrize("value", ['"' + "x" * 60_000 + '"', '"a\x1b[31m\x9b"', '"a\r\n b"'])
def test_validators_that_nobody_can_keep(value: str) -> None:
    """A digest stands for them: it tells versions apart, is short and plain, and is never sent."""
    found = version_of("E1", {"etag": value, "last-modified": value}, 5)
    other = version_of("E1", {"etag": value[:-1] + 'y"'}, 5)
    for kept in (found.etag, found.last_modified):
        assert kept is not None
        assert len(kept) < 100
        assert kept.isprintable()
    assert found.strong_etag is None
    assert found.validator != other.validator
    found.verify({"etag": value}, 5)


def test_confirm() -> None:
    """An answer of the same version passes, any other is named by embed code alone."""
    headers = {"etag": '"v1"', "last-modified": LAST_MODIFIED}
    source_version().verify(headers, 1000)
    for total, etag in ((999, '"v1"'), (1000, '"v2"'), (1000, "")):
        with pytest.raises(ContentChanged, match="E1 was replaced"):
            source_version().verify(headers | {"etag": etag}, total)
