# SPDX-License-Identifier: Apache-2.0
"""The client's routes: one asset, its source, labels, and which host answers."""

from __future__ import annotations

import logging

import pytest

from backlotfs.api.records import Label, Source
from backlotfs.errors import NoSuchEntry, ProtocolViolation, SettingsError, SourceMissing
from tests.fakes.api import E, Reply, reply, said, scripted

STREAMS, INFO = f"/v2/assets/{E}/streams", f"/v2/assets/{E}/source_file_info"
URL = "http://cms.example/x%2F0-1?Signature=S&Expires=1893456000&"
ENTRY = {"is_source": True, "file_size": 7, "url": URL}
INFO_BODY = {"file_size": 9, "source_file_url": URL, "original_file_name": "f.mov"}


def test_an_answer_of_another_shape_is_named() -> None:
    """With host and route."""
    rig = scripted(reply({"embed_code": E}))
    with pytest.raises(
        ProtocolViolation, match=r"api.example answered /v2/assets/\S+ with streams"
    ):
        rig.client.get_source(E, deadline=rig.deadline())


@pytest.mark.parametrize("code", ["", ".", "..", "a/b", "a\nb", "\ud800", "x" * 200])
def test_impossible_ids_are_never_sent(code: str) -> None:
    """An id that would name another route is no such entry, without a request."""
    rig = scripted()
    for call in (rig.client.get_source, rig.client.get_captions):
        with pytest.raises(NoSuchEntry):
            call(code, deadline=rig.deadline())


def test_odd_ids_are_percent_encoded() -> None:
    """An external id with a space or a question mark stays one path segment."""
    rig = scripted(reply([ENTRY]))
    rig.client.get_source("a b?c#ü", deadline=rig.deadline())
    assert "/v2/assets/a%20b%3Fc%23%C3%BC/streams?" in rig.adapter.urls[0]


def test_source_from_streams() -> None:
    """``/streams`` with a source costs one request; a null URL is the caller's to judge."""
    rig = scripted(reply([ENTRY]), reply([ENTRY | {"url": None}]))
    source = rig.client.get_source(E, deadline=rig.deadline())
    assert source.url is not None
    assert (source.url.url, source.url.expires_at_s, source.file_size) == (URL, 1893456000.0, 7)
    assert rig.client.get_source(E, deadline=rig.deadline()) == Source(None, 7)
    assert rig.adapter.paths() == [STREAMS, STREAMS]


@pytest.mark.parametrize("first", [reply([]), reply([{"is_source": False}]), said(404, "no route")])
def test_second_way(first: Reply) -> None:
    """No array, no source entry, no route: ``/source_file_info`` is asked."""
    rig = scripted(first, reply(INFO_BODY))
    source = rig.client.get_source(E, deadline=rig.deadline())
    assert (source.file_size, source.original_file_name) == (9, "f.mov")
    assert rig.adapter.paths() == [STREAMS, INFO]


@pytest.mark.parametrize(
    "second", [said(404, "none"), reply({}), reply({"file_size": None, "source_file_url": None})]
)
def test_no_source_either_way(second: Reply) -> None:
    """An asset of which neither route knows a source."""
    rig = scripted(reply([]), second)
    with pytest.raises(SourceMissing, match=E):
        rig.client.get_source(E, deadline=rig.deadline())


def test_null_url_with_a_size_on_the_second_way() -> None:
    """The known combination is a source without a URL."""
    rig = scripted(reply([]), reply(INFO_BODY | {"source_file_url": None}))
    assert rig.client.get_source(E, deadline=rig.deadline()) == Source(None, 9, "f.mov")


def test_labels(caplog: pytest.LogCaptureFixture) -> None:
    """All labels, over pages if there are any; a bad one is skipped with one warning."""
    root = {"id": "1", "name": "A", "full_name": "/A", "parent_id": None}
    rig = scripted(
        reply({"items": [root, {"id": 2}], "next_page": "/v2/labels?t=1"}),
        reply({"items": [root | {"id": "3", "parent_id": "1"}]}),
    )
    with caplog.at_level(logging.WARNING, "backlotfs"):
        labels = rig.client.labels(deadline=rig.deadline())
    assert labels == (Label("1", "A", "/A", None), Label("3", "A", "/A", "1"))
    assert [record.message for record in caplog.records] == [
        "skipped a label of /v2/labels: record 2: id: not usable as an id"
    ]


def test_only_what_may_be_late_goes_to_the_cdn() -> None:
    """``fresh=False`` asks the CDN host, with the same URL for 5 minutes; the default never."""
    rig = scripted(reply([ENTRY]), reply([ENTRY]), reply([ENTRY]), cdn_url="https://cdn.example")
    rig.client.get_source(E, deadline=rig.deadline(), fresh=False)
    rig.clock.advance(200)
    rig.client.get_source(E, deadline=rig.deadline(), fresh=False)
    rig.client.get_source(E, deadline=rig.deadline())
    hosts = [url.split("/")[2] for url in rig.adapter.urls]
    assert hosts == ["cdn.example", "cdn.example", "api.example"]
    assert rig.adapter.urls[0] == rig.adapter.urls[1]
    rig = scripted(reply([ENTRY]))
    rig.client.get_source(E, deadline=rig.deadline(), fresh=False)
    assert rig.adapter.urls[0].startswith("https://api.example/")


@pytest.mark.parametrize(
    "url",
    ["", "api.example", "ftp://h", "http://", "http://u:p@h", "http://h?x=1", "http://h/a b",
     "http://h:0", "http://h:x", "http://[::1", "http://h\n"],
)  # fmt: skip
def test_settings_that_are_no_urls(url: str) -> None:
    """A base URL that cannot be one is a settings error that does not repeat it."""
    with pytest.raises(SettingsError, match="API URL must look like"):
        scripted(api_url=url)
    if url:
        with pytest.raises(SettingsError, match="CDN URL"):
            scripted(cdn_url=url)


def test_page_limit_must_be_positive() -> None:
    """A page of nothing cannot be asked for."""
    with pytest.raises(ValueError, match="page_limit"):
        scripted(page_limit=0)
