# SPDX-License-Identifier: Apache-2.0
"""Captions: which assets are asked for them, when, and what becomes of each answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog import captions as captions_module
from backlotfs.catalog.captions import (
    ASSET_RETRY_S,
    CAPTION_LEASE_S,
    KINDS,
    MOST_FAILURES,
    REFUSED_PAUSE_S,
    is_nothing,
    kind_of,
)
from backlotfs.catalog.db import assets, captions
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    Interrupted,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)
from tests.unit.catalog.searching import Searching
from tests.unit.catalog_db.catalogs import apply, made, missing

TT = b'<tt xmlns="http://www.w3.org/ns/ttml"><body/></tt>'
SRT = b"1\n00:00:01,000 --> 00:00:02,000\nHello\n"
VTT = b"WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n"


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Searching]:
    """Assets A, B and C."""
    search = Searching(tmp_path, "A", "B", "C")
    with closing(search.db):
        yield search


def test_each_is_asked_once(search: Searching, tmp_path: Path) -> None:
    """And the next mount knows the answers."""
    search.answers["B"] = VTT
    search.backfill.start()
    assert sorted(search.asked) == ["A", "B", "C"]
    found = search.index.known("B")
    assert found == ("vtt", len(VTT), 2000)
    assert search.index.document("B") == VTT
    assert search.index.known("A") is None
    assert search.ask_again() == []
    again = Searching(tmp_path, clock=search.clock)
    with closing(again.db):
        assert again.index.known("B") == found
        assert again.ask_again() == []


def test_all_together_are_bounded(
    search: Searching, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server with a large document for each asset does not fill the disk; what is kept stays."""
    monkeypatch.setattr(captions_module, "MOST_TOTAL_BYTES", 2 * len(VTT))
    search.answers.update(dict.fromkeys("ABC", VTT))
    search.backfill.start()
    kept = [code for code in "ABC" if search.index.known(code)]
    assert len(kept) == 2
    assert "of captions are kept, the most" in caplog.text
    search.touch(kept[0], 3000)
    search.ask_again()
    assert search.index.total_bytes() == 2 * len(VTT)


def test_a_touched_asset_is_asked_again(search: Searching) -> None:
    """And nobody else; what it had is shown with its time until the answer is here."""
    search.answers["B"] = VTT
    search.backfill.start()
    search.touch("B", 3000)
    search.on_ask = lambda code: shown.append(search.index.known(code))
    shown: list[object] = []
    search.answers["B"] = VTT + b"\n"
    assert search.ask_again() == ["B"]
    assert shown == [("vtt", len(VTT), 2000)]
    assert search.index.known("B") == ("vtt", len(VTT) + 1, 3000)
    search.touch("B", 4000)
    search.answers["B"] = None
    assert search.ask_again() == ["B"]
    assert search.index.known("B") is None


def test_what_is_not_presented_is_not_asked(search: Searching) -> None:
    """By type, by what the mount hides, and without a source."""
    channel = replace(made("D"), asset_type="channel")
    apply(search.db, [channel])
    search.hidden.add("A")
    search.db.write(assets.save_sources, [missing("B")])
    search.backfill.start()
    assert search.asked == ["C"]


def test_sizes_go_first(search: Searching) -> None:
    """Nothing is asked while they are looked for."""
    search.sizing = 7
    search.backfill.start()
    assert len(search.clock.slept_s) == 7
    assert len(search.asked) == 3


@pytest.mark.parametrize("nothing", [b"", b"[]", b"{}", b"null\n"])
def test_the_ways_to_say_none(search: Searching, nothing: bytes) -> None:
    """They are believed: nobody is asked again."""
    search.answers = dict.fromkeys("ABC", nothing)
    search.backfill.start()
    assert search.db.read(captions.all_captions) == {}
    search.touch("A", 3000)
    assert search.ask_again() == ["A"]


@pytest.mark.parametrize(
    "strange", [b"<html>log in</html>", b"\0" * 100, ProtocolViolation("more than 4 MiB")]
)
def test_what_is_no_captions_is_left_out(
    search: Searching, tmp_path: Path, caplog: pytest.LogCaptureFixture, strange: bytes | Exception
) -> None:
    """With one line; it is not asked for again before a touch, or another mount."""
    search.answers["B"] = strange
    search.backfill.start()
    assert caplog.text.count("skipped the captions of B") == 1
    assert search.index.known("B") is None
    search.touch("A", 3000)
    assert search.ask_again() == ["A"]
    search.touch("B", 3000)
    search.answers["B"] = VTT
    assert search.ask_again() == ["B"]
    assert search.index.document("B") == VTT


def test_what_was_there_goes_on_beside_a_strange_answer(search: Searching) -> None:
    """A proxy's page in place of captions takes nothing away."""
    search.answers["B"] = VTT
    search.backfill.start()
    search.touch("B", 3000)
    search.answers["B"] = b"<html>maintenance</html>"
    search.backfill.start()
    assert search.index.document("B") == VTT


def test_the_end_of_the_mount_is_no_failure(
    search: Searching, caplog: pytest.LogCaptureFixture
) -> None:
    """The rate limiter is closed first: nobody else is asked, and nothing is said."""
    search.answers = dict.fromkeys("ABC", Interrupted("waiting for an API credit: the mount ends"))
    search.backfill.start()
    assert search.asked == ["C"]
    assert search.ask_again() == []
    assert caplog.records == []


def test_one_that_fails_is_asked_later(search: Searching) -> None:
    """The others are not kept waiting for it."""
    search.answers = {"A": VTT, "B": RemoteUnavailable("500"), "C": VTT}
    search.backfill.start()
    assert set(search.db.read(captions.all_captions)) == {"A", "C"}
    search.touch("A", 3000)
    assert search.ask_again() == ["A"]
    search.answers["B"] = VTT
    search.clock.advance(ASSET_RETRY_S)
    assert search.ask_again() == ["B"]
    assert search.ask_again() == []


def test_credits_that_are_spent(search: Searching) -> None:
    """No credit came within the longest wait: the asset is asked in the next round."""
    search.answers["B"] = RateLimited("429", retry_after_s=None)
    search.backfill.start()
    assert sorted(search.asked) == ["A", "B", "C"]
    search.answers["B"] = VTT
    assert search.ask_again() == ["B"]


@pytest.mark.parametrize(
    ("error", "rest_s", "questions"),
    [
        (CredentialsRefused("no right for captions"), REFUSED_PAUSE_S, 1),
        (RemoteUnavailable("down"), ASSET_RETRY_S, MOST_FAILURES),
    ],
)
def test_it_gives_up_for_a_while(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: BacklotError,
    rest_s: float,
    questions: int,
) -> None:
    """A refusal costs one credit an hour, an API that is down a few, not one for each asset."""
    search = Searching(tmp_path, *"ABCDEFGHIJKL")
    with closing(search.db):
        search.answers = dict.fromkeys("ABCDEFGHIJKL", error)
        search.backfill.start()
        assert len(search.asked) == questions
        assert caplog.text.count(f"paused: {error}") == 1
        assert search.ask_again() == []
        search.answers.clear()
        search.clock.advance(rest_s)
        assert len(search.ask_again()) == 12


def test_one_mount_of_a_library_asks(search: Searching, tmp_path: Path) -> None:
    """The other sees what it found, and goes on when it has gone."""
    other = Searching(tmp_path, clock=search.clock)
    with closing(other.db):
        search.answers["A"] = VTT
        search.on_ask = lambda _code: other.backfill.start()
        search.backfill.start()
        assert len(search.asked) == 3
        assert other.asked == []
        other.backfill.start()
        assert other.index.known("A") == ("vtt", len(VTT), 2000)


def test_the_lease_is_kept(search: Searching, tmp_path: Path) -> None:
    """Also when each question takes long; one that was lost ends the round."""
    other = Searching(tmp_path, clock=search.clock)
    with closing(other.db):

        def slow(_code: str) -> None:
            search.clock.advance(CAPTION_LEASE_S / 2)
            other.backfill.start()

        search.on_ask = slow
        search.backfill.start()
        assert len(search.asked) == 3
        assert other.asked == []


def test_the_end_of_the_mount(search: Searching) -> None:
    """Nobody is asked after it."""
    search.on_ask = lambda _code: search.backfill.close()
    search.backfill.start()
    assert len(search.asked) == 1
    assert search.ask_again() == []


def test_an_asset_that_was_deleted_meanwhile(search: Searching) -> None:
    """Its answer is for nobody."""
    search.answers["A"] = VTT

    def delete(code: str) -> None:
        apply(search.db, [], [DeletedAsset(code, 9000)])

    search.on_ask = delete
    search.backfill.start()
    assert search.db.read(captions.all_captions) == {}
    assert search.index.document("A") is None
    assert search.index.known("A") is None


def test_without_a_place_for_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where memory stands in for the catalog, captions would fill it: none are asked for."""
    place = tmp_path / "file"
    place.touch()
    search = Searching(place, "A")
    with closing(search.db):
        search.backfill.start()
        assert search.asked == []
        assert "no place for captions" in caplog.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (TT, "dfxp"),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- made -->\n' + TT, "dfxp"),
        (b"<!DOCTYPE tt SYSTEM 'x'>" + TT, "dfxp"),
        (b"\xef\xbb\xbf\r\n<tt:tt\n>", "dfxp"),
        ("\ufeff<?xml version='1.0'?><tt/>".encode("utf-16-le"), "dfxp"),
        ("\ufeff<tt></tt>".encode("utf-16-be"), "dfxp"),
        (b"WEBVTT", "vtt"),
        (b"\xef\xbb\xbfWEBVTT - title\n\n00:01.000 --> 00:02.000\n", "vtt"),
        (SRT, "srt"),
        (b"\xef\xbb\xbf\r\n" + SRT.replace(b"\n", b"\r\n"), "srt"),
        (b"Scenarist_SCC V1.0\n\n00:00:00:22\t9425 9425\n", "scc"),
        (b"<html><body>Please log in</body></html>", None),
        (b"<!DOCTYPE html><html>", None),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', None),
        (b"<ttx/>", None),
        (b"<tt", None),
        (b"WEBVTTX", None),
        (b'{"url": "https://host/captions.vtt"}', None),
        (b"1\nhello\n", None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"<!--" * 4000 + b"<tt/>", None),
    ],
)
def test_kinds(body: bytes, kind: str | None) -> None:
    """What is no captions is no kind: nothing is called captions on hearsay."""
    assert kind_of(body) == kind


@given(st.binary(max_size=300) | st.text("<!->?tWEBV \n1:,", max_size=300).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    """Whatever a server sends, it is told at once, and only by what is in it."""
    assert kind_of(body) in {None, *KINDS}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}\n", b" null ", b'""', b'{"items": []}', b"\r\n"])
def test_nothing(body: bytes) -> None:
    """The ways to say "none"."""
    assert is_nothing(body)
    assert kind_of(body) is None


@pytest.mark.parametrize(
    "body", [TT, SRT, b"[1]", b'{"url": "x"}', b"{" * 5000, b"nothing", b"\xff\xfe"]
)
def test_something(body: bytes) -> None:
    """All else is an answer to look at."""
    assert not is_nothing(body)
