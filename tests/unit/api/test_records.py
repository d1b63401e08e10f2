# SPDX-License-Identifier: Apache-2.0
"""Records from JSON of unknown honesty, and the signed URLs in them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from backlotfs.api import records
from backlotfs.api.records import Asset, Label, SignedUrl, Source
from backlotfs.errors import ProtocolViolation

E = "EMBEDCODEexample-000000000000_01"
URL = f"http://cms.ooyala.com/{E}%2F0-1?Signature=S&Expires=1893456000&AWSAccessKeyId=A&"
SAMPLE: dict[str, object] = {
    "embed_code": E,
    "name": "Harbour, take 2",
    "asset_type": "video",
    "status": "live",
    "original_file_name": "harbour take#2.mov",
    "duration": 61583,
    "description": None,
    "created_at": "2016-03-01T21:43:12Z",
    "updated_at": "2016-03-01T21:49:25+00:00",
    "external_id": None,
    "preview_image_url": "http://cf.c.ooyala.com/promo",
}


def asset(**changes: object) -> Asset:
    """The sample with changes, parsed."""
    return records.parse_asset(SAMPLE | changes)


def test_sample() -> None:
    """Every field of the documented sample arrives."""
    assert asset() == Asset(
        embed_code=E,
        title="Harbour, take 2",
        original_file_name="harbour take#2.mov",
        asset_type="video",
        status="live",
        created_at_s=1456868592,
        updated_at_s=1456868965,
        duration_ms=61583,
        preview_image_url="http://cf.c.ooyala.com/promo",
    )
    assert hash(asset()) == hash(asset())


def test_both_dialects_agree() -> None:
    """The strings of 2013 and the natives of 2017 make equal records."""
    assert asset(duration="61583") == asset(duration=61583.0) == asset()


def test_least_asset() -> None:
    """An embed code alone is an asset."""
    bare = records.parse_asset({"embed_code": E})
    assert (bare.title, bare.original_file_name, bare.status) == ("", None, "")
    assert (bare.created_at_s, bare.duration_ms) == (0, 0)
    assert bare.metadata == {}
    assert bare.labels is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2016-03-01T21:43:12", 1456868592),
        ("2016-03-01T22:43:12+01:00", 1456868592),
        (1456868592, 1456868592),
        ("1456868592", 1456868592),
        ("1969-12-31T00:00:00Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59-23:59", 0),
        ("yesterday", 0),
        (10**18, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (True, 0),
        (None, 0),
        ([], 0),
    ],
)
def test_times(value: object, seconds: int) -> None:
    """ISO 8601 in UTC; whatever else becomes 0."""
    assert asset(created_at=value).created_at_s == seconds


@pytest.mark.parametrize(
    "code", [None, "", 7, [], "a/b", "a\0b", "a\nb", "..", ".", "x" * 129, "\ud800", "é" * 65]
)
def test_bad_embed_codes(code: object) -> None:
    """An id that could not stand in a URL or a file name makes the record bad, and is named."""
    with pytest.raises(ProtocolViolation, match="embed_code"):
        asset(embed_code=code)


@pytest.mark.parametrize("field", ["name", "original_file_name", "asset_type", "status"])
@pytest.mark.parametrize("value", [[], {}, True, 10**18, float("nan")])
def test_names_must_be_text(field: str, value: object) -> None:
    """A name of another type makes the record bad, and the field is named."""
    with pytest.raises(ProtocolViolation, match=f"^{field}: expected text"):
        asset(**{field: value})


def test_hostile_texts_are_kept_or_mended() -> None:
    """Long names live, numbers become text, lone surrogates become U+FFFD, pairs become one."""
    assert asset(name="x" * 10_000).title == "x" * 10_000
    assert asset(original_file_name=42).original_file_name == "42"
    assert asset(name="a\ud800b").title == "a\ufffdb"
    assert asset(name="\ud83d\ude00").title == "😀"


def test_decoration_never_hurts() -> None:
    """Fields that nothing depends on are dropped when they make no sense."""
    odd = asset(duration=-1, description=[], external_id=7, metadata=[1], labels="x")
    assert odd.duration_ms == 0
    assert odd.description is None
    assert odd.external_id is None
    assert odd.metadata == {}
    assert odd.labels is None


def test_included_metadata_and_labels() -> None:
    """``include`` brings pairs and labels; labels that are not understood count as unknown."""
    label = {"id": "f" * 32, "name": "Racing", "full_name": "/Sports/Racing", "parent_id": "e" * 32}
    full = asset(metadata={"k": "v", "n": 1}, labels=[label])
    assert full.metadata == {"k": "v"}
    assert full.labels == (Label("f" * 32, "Racing", "/Sports/Racing", "e" * 32),)
    assert asset(labels=[]).labels == ()
    assert asset(labels=[label, "Racing"]).labels is None


def as_body(document: object) -> bytes:
    """As the API sends it."""
    return json.dumps(document).encode()


def test_a_bad_record_is_skipped_and_the_page_lives() -> None:
    """Each skipped record has its reason: which, and why."""
    page = records.parse_asset_page(
        as_body({"items": [SAMPLE, 5, SAMPLE | {"name": []}, {"name": "n"}], "next_page": ""})
    )
    assert page.items == (asset(),)
    assert page.next_page is None
    assert page.skipped == (
        "record 2: asset: expected an object, got a number",
        f"record 3 (embed_code {E!r}): name: expected text, got an array",
        "record 4: embed_code: not usable as an id",
    )


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "page"),
        ([], "page"),
        ("x", "page"),
        ({}, "items"),
        ({"items": {}}, "items"),
        ({"items": [], "next_page": []}, "next_page"),
    ],
)
def test_no_page(document: object, field: str) -> None:
    """What is no page at all is refused; the field is named."""
    for parse in (records.parse_asset_page, records.parse_labels, records.parse_deleted_page):
        with pytest.raises(ProtocolViolation, match=field):
            parse(as_body(document))


def test_deleted() -> None:
    """Deletions have an id and a time."""
    gone = {"embed_code": E, "deleted_at": "1970-01-01T00:01:00Z", "duration": "5"}
    page = records.parse_deleted_page(as_body({"items": [gone, {}]}))
    assert [dataclasses.astuple(item) for item in page.items] == [(E, 60)]
    assert len(page.skipped) == 1


def test_labels() -> None:
    """A label without a usable id or with a torn parent is skipped; a root has no parent."""
    items = [
        {"id": "1", "name": "a/b,c", "full_name": "/a/b,c", "parent_id": None},
        {"id": "2", "name": "", "parent_id": ""},
        {"id": "x/y", "name": "n"},
        {"id": "3", "name": "n", "parent_id": 7},
    ]
    page = records.parse_labels(as_body({"items": items}))
    assert page.items == (Label("1", "a/b,c", "/a/b,c", None), Label("2", "", "", None))
    assert len(page.skipped) == 2


SOURCE = {"is_source": True, "file_size": 400868, "url": URL}
RENDITION = {"is_source": False, "file_size": 6192720, "url": "http://player/x.m3u8"}


@pytest.mark.parametrize(
    "entries",
    [
        [SOURCE, RENDITION],
        [RENDITION, SOURCE],
        [None, 7, RENDITION, SOURCE],
        [{"is_source": "true", "file_size": "400868", "url": URL}],
        [SOURCE | {"url": None}, SOURCE, SOURCE | {"file_size": 1}],
        [RENDITION | {"is_source": "false"}, RENDITION | {"is_source": []}, SOURCE],
    ],
)
def test_source_entry_is_found_anywhere(entries: list[object]) -> None:
    """In either dialect, in any place, the one with a URL first."""
    assert records.parse_streams(entries) == Source(SignedUrl(URL), 400868)


@pytest.mark.parametrize("entries", [[], [RENDITION], [{}], [[]], [{"is_source": None}]])
def test_no_source_entry(entries: list[object]) -> None:
    """No source is None, not an error."""
    assert records.parse_streams(entries) is None


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"url": None}, Source(None, 400868)),
        ({"url": ""}, Source(None, 400868)),
        ({"file_size": None}, Source(SignedUrl(URL), None)),
        ({"file_size": ""}, Source(SignedUrl(URL), None)),
        ({"file_size": 0}, Source(SignedUrl(URL), 0)),
        ({"file_size": 400868.0}, Source(SignedUrl(URL), 400868)),
    ],
)
def test_nulls_of_a_source(changes: dict[str, object], source: Source) -> None:
    """A null URL or size is a source with a gap."""
    assert records.parse_streams([SOURCE | changes]) == source


@pytest.mark.parametrize("size", [-1, "-1", 10**18, "9" * 19, "9" * 5000, 1.5, "x", True, [], {}])
def test_impossible_sizes(size: object) -> None:
    """A size that cannot be is refused on both routes, by name."""
    with pytest.raises(ProtocolViolation, match="file_size"):
        records.parse_streams([SOURCE | {"file_size": size}])
    with pytest.raises(ProtocolViolation, match="file_size"):
        records.parse_source_file_info({"file_size": size})


@pytest.mark.parametrize("url", [7, [], "not a url", "javascript:x"])
def test_impossible_urls(url: object) -> None:
    """A URL that cannot be is refused on both routes, by name."""
    with pytest.raises(ProtocolViolation, match=r"^url: "):
        records.parse_streams([SOURCE | {"url": url}])
    with pytest.raises(ProtocolViolation, match=r"^source_file_url: "):
        records.parse_source_file_info({"source_file_url": url})


def test_source_file_info() -> None:
    """The second way, in full, with the known null combination, and of the wrong shape."""
    info = {"original_file_name": "h.mov", "file_size": "12", "source_file_url": URL}
    assert records.parse_source_file_info(info) == Source(SignedUrl(URL), 12, "h.mov")
    nulls = {"original_file_name": None, "file_size": 12, "source_file_url": None}
    assert records.parse_source_file_info(nulls) == Source(None, 12, None)
    with pytest.raises(ProtocolViolation, match="source_file_info"):
        records.parse_source_file_info([])
    with pytest.raises(ProtocolViolation, match="streams"):
        records.parse_streams({})


def test_a_page_of_too_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and custom fields are objects of 20 times their text: the page is given up."""
    monkeypatch.setattr(records, "MAX_PARTS", 10)
    record = {"embed_code": "E", "labels": [{"id": "1"}] * 6, "metadata": {"a": "", "b": ""}}
    two = json.dumps({"items": [record] * 2}).encode()
    assert len(records.parse_asset_page(two).items) == 2
    with pytest.raises(ProtocolViolation, match="more than 10 labels and custom fields on a page"):
        records.parse_asset_page(json.dumps({"items": [record] * 3}).encode())


PATH = "cms.ooyala.com/EMBEDCODEexample-000000000000_01%2F0000000000000-0000000400867"
SIGNED_URL = (
    f"http://{PATH}?Signature=t0507XL8IID0QOWlqNLQbSEhniU%3D&Expires=1893456000"
    "&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&"
)


def test_kept_shown_and_compared() -> None:
    """The URL is kept to the last stray ``&``; only host and path are ever shown."""
    url = SignedUrl.parse(SIGNED_URL)
    assert url.url == SIGNED_URL
    assert url.expires_at_s == 1893456000.0
    assert str(url) == PATH + "?<redacted>"
    for shown in (str(url), repr(url), f"{url}", repr(Source(url, 1))):
        assert "t0507" not in shown
        assert "Signature" not in shown
        assert f"{PATH}?<redacted>" in shown
    again = SignedUrl.parse(SIGNED_URL.replace("t0507", "XXXXX"))
    assert url != again
    assert str(url) == str(again)
    assert url == SignedUrl(SIGNED_URL)


@pytest.mark.parametrize(
    ("query", "expires_at_s"),
    [
        ("", None),
        ("Expires=", None),
        ("Expires=soon", None),
        ("Expires=-5", None),
        ("Expires=inf", None),
        ("Expires=nan", None),
        ("Expires=" + "9" * 500, None),
        ("Expires=20&Expires=10", 10.0),
        ("expires=7.5", 7.5),
        ("&".join(f"a{n}=1" for n in range(200)) + "&Expires=5", None),
    ],
)
def test_expires(query: str, expires_at_s: float | None) -> None:
    """Whatever ``Expires`` says, it becomes a sane time or none."""
    assert SignedUrl.parse(f"http://h/p?{query}").expires_at_s == expires_at_s


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        # what no URL may have, and browsers encode in a path as in a query
        ("http://h/a b?x=attachment; filename=c", "http://h/a%20b?x=attachment;%20filename=c"),
        ('http://h/p?filename="a"', "http://h/p?filename=%22a%22"),
        ("http://h/<p>", "http://h/%3Cp%3E"),
        ("http://h/Zoë?n=Zoë", "http://h/Zo%C3%AB?n=Zo%C3%AB"),
        ("http://h/\U0001f3ac", "http://h/%F0%9F%8E%AC"),
        ("http://h/a\u0085\u200e", "http://h/a%C2%85%E2%80%8E"),
        # around it
        (" http://h/p\r\n", "http://h/p"),
        # byte for byte: browsers keep these in a query, and a signature may cover them
        ("http://h/p?x={a}|b^c`\\d", "http://h/p?x={a}|b^c`\\d"),
        ("http://h/a%2Fb%20c%zz+d?&&x=%c3%ab", "http://h/a%2Fb%20c%zz+d?&&x=%c3%ab"),
        ("http://h/'()*!~,;:@$[]", "http://h/'()*!~,;:@$[]"),
    ],
)
def test_what_a_signer_left_unescaped_is_encoded(given: str, sent: str) -> None:
    """Blanks, quotes, angle brackets and letters beyond ASCII are encoded; the rest stays."""
    assert SignedUrl.parse(given).url == sent


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "/relative?Signature=SECRETsig",
        "ftp://h/p?Signature=SECRETsig",
        "http:///p?Signature=SECRETsig",
        "http://[::1/p?Signature=SECRETsig",
        "http://h:99999/p?Signature=SECRETsig",
        "http://h:0/p?Signature=SECRETsig",
        "http://user:word@h/p?Signature=SECRETsig",
        "http://h/p?Signature=SECRETsig\r\nHost: evil",
        "http://h/p?Signature=SECRETsig\tb",
        "http://h/p?Signature=SECRETsig\x7f",
        "http://h/p?Signature=SECRETsig\ud800",
        "http://ä/p?Signature=SECRETsig",
        "http://h é/p?Signature=SECRETsig",
        "http://h/p?Signature=SECRETsig" + "x" * 20_000,
    ],
)
def test_unusable_urls_are_refused_unseen(bad: str) -> None:
    """A URL that cannot be sent as it stands is refused, and the error does not hold it."""
    with pytest.raises(ProtocolViolation) as caught:
        SignedUrl.parse(bad)
    error = caught.value
    assert "SECRETsig" not in str(error)
    assert error.__context__ is None
