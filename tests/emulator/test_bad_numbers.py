# SPDX-License-Identifier: Apache-2.0
"""Numbers and dates that are none, or without end: a 4xx or a line, never an error of ours."""

from __future__ import annotations

import email.utils
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.emulator import Emulator, Fault, FaultPlan, Library
from backlotfs.emulator.command import emulator as command
from backlotfs.emulator.numbers_and_dates import (
    BEYOND,
    iso_time,
    moment_of,
    moment_of_header,
    saturated,
    whole_number,
)
from backlotfs.emulator.sources import (
    RangeNotSatisfiable,
    range_start,
    requested_span,
    source_signature,
    string_to_sign,
)
from tests.emulator.conftest import CLIP, CLIP_SIZE
from tests.emulator.probe import call, exchange, get, sign, target_of

LONG = "9" * 5000
ODD = [
    LONG, "-1", "+5", " 5", "5 ", "5\n", "1_000", "0x10", "1e3", "1.5", "nan", "inf", "-inf", "",
    "\u0665", "\uff15", "\u00b2", "\u2460", "\u0be7", "5\0", "\udcff", "--5", "9" * 19,
]  # fmt: skip  # a table


@given(st.text(alphabet="0123456789+-_ .eE\u0665\uff15\u00b2\0") | st.text())
def test_numbers(text: str) -> None:
    """Either ASCII digits that are the number, or None."""
    number = whole_number(text)
    if text.isascii() and text.isdigit() and len(text) <= 18:
        assert number == int(text)
    else:
        assert number is None


@given(st.integers(-(10**30), 10**30))
def test_signed_numbers(number: int) -> None:
    """Up to 18 digits, with one sign."""
    expected = number if abs(number) < 10**18 else None
    assert whole_number(str(number), signed=True) == expected


@given(st.integers(0, 10**30), st.integers(0, 30))
def test_saturated_numbers(number: int, zeros: int) -> None:
    """Longer ones are all the same, and larger than any object."""
    assert saturated("0" * zeros + str(number)) == (number if number < BEYOND else BEYOND)


@given(st.text() | st.from_regex(r"\d{1,5}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?([+-]\d\d:\d\d)?)?"))
def test_dates(text: str) -> None:
    """A date or None, whatever the text; what is one can be written again."""
    moment = moment_of(text)
    assert moment is None or iso_time(moment)
    assert moment_of_header(text) is None


@given(st.floats(allow_nan=False) | st.integers(-(10**18), 10**18))
def test_dates_out_of_range(seconds: float) -> None:
    """Are written as the nearest that can be."""
    assert len(iso_time(seconds)) == len("2030-01-01T00:00:00Z")


def test_dates_of_headers() -> None:
    """As in Last-Modified; no other form."""
    text = email.utils.formatdate(1_500_000_000, usegmt=True)
    assert moment_of_header(text) == 1_500_000_000
    assert moment_of_header(text.replace("2017", "99999999999")) is None
    assert moment_of_header(text.replace("2017", "\u0662017")) is None


@given(st.from_regex(r"bytes=[0-9]{0,40}-[0-9]{0,40}", fullmatch=True), st.integers(0, 10**12))
def test_ranges(header: str, size: int) -> None:
    """Of numbers of any length: a span within the object, the whole, or a 416."""
    try:
        span = requested_span(header, size)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span[0] < span[1] <= size


@pytest.mark.parametrize(
    ("header", "status", "length"),
    [
        (f"bytes={LONG}-", 416, None),
        (f"bytes=0-{LONG}", 206, CLIP_SIZE),
        (f"bytes=-{LONG}", 206, CLIP_SIZE),
        (f"bytes={'0' * 5000}5-{'0' * 100}9", 206, 5),
        (f"bytes={LONG[:4000]}-{LONG[:4000]}", 416, None),
        ("bytes=\u0665-", 200, CLIP_SIZE),
        ("bytes=1_0-20", 200, CLIP_SIZE),
        ("bytes=+1-20", 200, CLIP_SIZE),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), 200, CLIP_SIZE),
    ],
)
def test_range_requests(emulator: Emulator, header: str, status: int, length: int | None) -> None:
    """As the same range in a sane spelling would get, or as a malformed one."""
    value = header.encode("utf-8").decode("latin-1")  # http.client sends latin-1
    reply = get(emulator.source_url(CLIP), Range=value)
    assert reply.status == status
    assert length is None or len(reply.body) == length
    assert range_start(header) is None or isinstance(range_start(header), int)


@pytest.mark.parametrize("value", ODD)
def test_expires_of_the_api(emulator: Emulator, value: str) -> None:
    """Signed rightly: 400."""
    text = value.encode("utf-8", "surrogateescape")
    given = {"api_key": emulator.api_key, "expires": text.decode("latin-1")}
    signature = sign_bytes(emulator, text)
    target = f"/v2/labels?api_key={given['api_key']}&expires={quote(text)}&signature={signature}"
    assert exchange(emulator.api_url, target).status == 400


def sign_bytes(emulator: Emulator, expires: bytes) -> str:
    """A signature over an ``expires`` of any bytes."""
    if expires.isascii():
        given = {"api_key": emulator.api_key, "expires": expires.decode()}
        return quote(sign(emulator.api_secret, "GET", "/v2/labels", given), safe="")
    from backlotfs.emulator.api import api_signature

    pairs = [
        ("api_key", emulator.api_key),
        ("expires", expires.decode("utf-8", "surrogateescape")),
    ]
    return quote(api_signature(emulator.api_secret, "GET", "/v2/labels", pairs), safe="")


@pytest.mark.parametrize("value", ODD)
def test_expires_of_a_source(emulator: Emulator, value: str) -> None:
    """Signed rightly: 403, never an error of ours."""
    path = target_of(emulator.source_url(CLIP)).partition("?")[0]
    text = string_to_sign("GET", f"/cms.ooyala.com{path}", value, {})
    signature = quote(source_signature(emulator.settings.source_secret, text), safe="")
    key = emulator.settings.source_key_id
    expires = quote(value.encode("utf-8", "surrogateescape"))
    target = f"{path}?Signature={signature}&Expires={expires}&AWSAccessKeyId={key}&"
    assert exchange(emulator.api_url, target).status == 403


@pytest.mark.parametrize("value", [one for one in ODD if "\udcff" not in one])
def test_parameters_of_lists(emulator: Emulator, value: str) -> None:
    """A limit, a page token, a number or a date in a filter: 400."""
    assert call(emulator, "/v2/assets", limit=value).status == 400
    if value not in ("-1", ""):
        assert call(emulator, "/v2/assets", page_token=f"{value};x").status == 400
        assert call(emulator, "/v2/deleted_assets", page_token=f"{value};x").status == 400
        assert call(emulator, "/v2/assets", where=f"duration > '{value}'").status == 400
    assert call(emulator, "/v2/assets", where=f"created_at > '{value}'").status == 400
    assert call(emulator, "/v2/assets", where="time_restrictions.end_date = " + LONG).status == 400


@pytest.mark.parametrize("value", ODD)
def test_dates_in_headers(emulator: Emulator, value: str) -> None:
    """What cannot be read is ignored, as HTTP says."""
    text = value.encode("utf-8", "surrogateescape").decode("latin-1").strip().replace("\0", "")
    for date in (text, f"Mon, {text} Jan 2030 00:00:00 GMT", f"Mon, 01 Jan {text} 00:00:00 GMT"):
        date = date.replace("\n", "")
        reply = get(emulator.source_url(CLIP), If_Unmodified_Since=date, Range="bytes=0-0")
        assert reply.status == 206


@pytest.mark.parametrize("length", [LONG, "-1", "+5", "1_0", "0x5", "\xb2", "5 5"])
def test_content_length(emulator: Emulator, length: str) -> None:
    """400."""
    reply = exchange(emulator.api_url, "/v2/assets", "POST", {"Content-Length": length})
    assert reply.status in (400, 408, 413)


@pytest.mark.parametrize("mtime", [-(10**10), 10**12, 2**60])
def test_dates_of_files(tmp_path: Path, mtime: int) -> None:
    """A file from before 1970 or after 9999 is listed and served."""
    (tmp_path / "a.mov").write_bytes(b"hello")
    try:
        os.utime(tmp_path / "a.mov", (0, mtime))
    except (OSError, OverflowError):
        pytest.skip("this file system has no such date")
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        (item,) = call(emulator, "/v2/assets", orderby="updated_at").json["items"]
        assert len(item["updated_at"]) == len("2030-01-01T00:00:00Z")
        assert get(emulator.source_url(item["embed_code"])).body == b"hello"


@pytest.mark.parametrize(
    "document",
    [
        '{"assets": [{"title": "x", "duration_ms": LONG}]}'.replace("LONG", LONG),
        '{"assets": [{"title": "x", "duration_ms": NaN}]}',
        '{"assets": [{"title": "x", "duration_ms": 1e999}]}',
        '{"assets": [{"title": "x", "duration_ms": "5"}]}',
        '{"assets": [{"title": "x", "created_at": 1000000000000000}]}',
        '{"assets": [{"title": "x", "created_at": "9999-99-99"}]}',
        '{"assets": [{"title": "x", "created_at": true}]}',
        '{"assets": [{"title": "x", "reported_size": -1}]}',
        '{"assets": [{"title": "x", "source_position": 1.5}]}',
        '{"assets": [{"title": ["x"]}]}',
        '{"assets": [{"title": "x", "metadata": 5}]}',
        '{"assets": [{"title": "x", "extras": {"a": 1e999}}]}',
        '{"assets": [{"title": "x", "synthetic": "LONG"}]}'.replace("LONG", LONG),
        '{"assets": [{"title": "x", "synthetic": "\u0665M"}]}',
        '{"assets": [{"title": "x", "synthetic": -5}]}',
        '{"assets": [{"title": "x", "synthetic": "99999T"}]}'.replace("99999T", "9999999999T"),
        "[" * 100_000,
        '{"labels": [' + '{"name": "x", "children": [' * 300 + "]}" * 300 + "]}",
    ],
)
def test_library_json(tmp_path: Path, document: str) -> None:
    """Is refused in one sentence that names the file."""
    (tmp_path / "library.json").write_text(document, "utf-8")
    with pytest.raises(ValueError, match=r"library\.json cannot be used") as caught:
        Library.from_folder(tmp_path)
    assert len(str(caught.value)) < 500


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    """JSON can spell what UTF-8 cannot: the answer has something in its place."""
    document = (
        '{"assets": [{"title": "\\ud800", "extras": {"x": "\\udfff"}, "metadata": {"k": 5}}]}'
    )
    (tmp_path / "library.json").write_text(document, "utf-8")
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        (item,) = call(emulator, "/v2/assets").json["items"]
        assert (item["name"], item["x"]) == ("?", "?")
        assert call(emulator, "/v2/assets", where="metadata.k < 'x'").status == 200


@pytest.mark.parametrize(
    "options",
    [
        ["--rate-limit", LONG], ["--rate-limit", "\u0665"], ["--rate-limit", "+5"],
        ["--url-lifetime", LONG], ["--url-lifetime", "\u0665h"], ["--url-lifetime", "inf"],
        ["--synthetic", LONG], ["--synthetic", "1_0"], ["--synthetic", f"1x{LONG}"],
        ["--synthetic", "-1"], ["--port", LONG], ["--port", "70000"], ["--page-cap", LONG],
    ],
)  # fmt: skip  # a table
def test_options(options: list[str]) -> None:
    """Exit code 2 and a short line."""
    result = CliRunner().invoke(command, ["--synthetic", "1", "--port", "0", *options])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("seconds", ["NaN", "1e999", LONG])
def test_fault_plans(tmp_path: Path, seconds: str) -> None:
    """A plan with such a number is refused when it is read."""
    plan = tmp_path / "plan.json"
    text = '{"rules": [{"fault": "delay", "seconds": LONG}]}'
    plan.write_text(text.replace("LONG", seconds), "utf-8")
    with pytest.raises(ValueError, match=r"plan\.json"):
        FaultPlan.from_json(plan)
    plan.write_text(json.dumps({"seed": 1, "rules": []}).replace("1,", f"{seconds},"), "utf-8")
    with pytest.raises(ValueError, match=r"plan\.json"):
        FaultPlan.from_json(plan)
    with pytest.raises(ValueError, match="seconds"):
        Fault.delay(float("inf"))
