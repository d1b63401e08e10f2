# SPDX-License-Identifier: Apache-2.0
"""No JSON, however hostile, gets anything but a record or a ProtocolViolation out of the parser."""

from __future__ import annotations

import json
import string
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from backlotfs.api import records as api_records
from backlotfs.api.answers import message_of, one_line, plain_words
from backlotfs.api.paging import cursor_params
from backlotfs.api.records import SignedUrl
from backlotfs.errors import ProtocolViolation

FIELDS = [
    "embed_code", "name", "original_file_name", "asset_type", "status", "created_at", "updated_at",
    "duration", "description", "external_id", "metadata", "labels", "id", "full_name", "parent_id",
    "is_source", "file_size", "url", "source_file_url", "deleted_at", "items", "next_page",
    "message",
]  # fmt: skip
# surrogates on purpose: JSON can spell them
texts = st.text(st.characters(), max_size=40) | st.text(st.characters(categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**18, -(10**18), 10**400, 2**53])
    | st.floats()
    | texts
    | st.sampled_from(["true", "-1", "9" * 30, "http://h/p?Expires=1", "x" * 10_000])
    | st.datetimes().map(str)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | texts, inner, max_size=6)
    ),
    max_leaves=25,
)
records = st.dictionaries(st.sampled_from(FIELDS), documents)


def on_a_page(parse: Callable[[bytes], object]) -> Callable[[object], object]:
    """A parser of bodies, given what they hold."""
    return lambda document: parse(json.dumps(document).encode())


PARSERS = [
    api_records.parse_asset,
    on_a_page(api_records.parse_asset_page),
    on_a_page(api_records.parse_deleted_page),
    api_records.parse_label,
    on_a_page(api_records.parse_labels),
    api_records.parse_streams,
    api_records.parse_source_file_info,
]


@given(documents | records | st.lists(records))
def test_only_records_or_protocol_violations(document: object) -> None:
    """Anything JSON can say: a record, or one typed error in plain words."""
    for parse in PARSERS:
        try:
            outcome: object = parse(document)
        except ProtocolViolation as error:
            outcome = str(error)
        assert isinstance(repr(outcome), str), parse
        assert not isinstance(outcome, str) or outcome.isprintable(), parse


@given(st.lists(records | scalars, max_size=8))
def test_every_record_of_a_page_is_accounted_for(items: list[object]) -> None:
    """Each is an asset, whose texts can be stored, or has a reason."""
    page = api_records.parse_asset_page(json.dumps({"items": items}).encode())
    assert len(page.items) + len(page.skipped) == len(items)
    for asset in page.items:
        kept = [asset.title, asset.embed_code, asset.original_file_name, asset.description]
        "".join(text or "" for text in [*kept, *asset.metadata, *asset.metadata.values()]).encode()
        assert "/" not in asset.embed_code
        assert 0 <= asset.created_at_s < 2**63


@given(st.text() | st.text("http:/?&=%Expires[]@.0123456789").map("http://h".__add__))
@example("http://[")
def test_urls_are_kept_whole_or_refused(text: str) -> None:
    """A URL that is taken keeps its ASCII, can be sent as it is, and shows no query."""
    try:
        url = SignedUrl.parse(text)
    except ProtocolViolation:
        return
    assert url.url.isascii()
    assert url.url.isprintable()
    assert " " not in url.url
    if not set(text) - set(string.ascii_letters + string.digits + "http:/?&=%[]@."):
        assert url.url == text
    assert SignedUrl.parse(url.url).url == url.url
    place, mark = str(url).split("?")
    assert mark == "<redacted>"
    assert place.lower() in url.url.lower()


@given(texts | st.text("/v2assets?&=%;").map("/v2/assets?".__add__))
def test_cursors_are_parameters_or_refused(cursor: str) -> None:
    """Never anything but parameters without credentials."""
    try:
        params = cursor_params(cursor, "/v2/assets")
    except ProtocolViolation:
        return
    assert params
    assert not params.keys() & {"api_key", "expires", "signature"}


@given(documents, st.binary())
def test_messages_are_one_bounded_line(document: object, tail: bytes) -> None:
    """Whatever an error body holds."""
    for body in (json.dumps(document).encode(), json.dumps({"message": document}).encode(), tail):
        said = plain_words(message_of(body))
        assert said.isprintable()
        assert len(said) <= 300


@given(st.text(), st.integers(1, 400))
def test_one_line_is_bounded_and_printable(text: str, limit: int) -> None:
    """At any limit."""
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
