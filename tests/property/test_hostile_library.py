# SPDX-License-Identifier: Apache-2.0
"""Whatever JSON an API answers with: the listing lives, is bounded, and says what it left out."""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import Account, MountSettings
from backlotfs.errors import BacklotError, ProtocolViolation
from backlotfs.mount.stack import Stack, build_stack
from tests.fakes.clocks import HurriedClock
from tests.strategies import hostile_text
from tests.support.long_runs import runs

names = hostile_text | st.sampled_from(
    ["\u202egpj.mov", "CON", "nul.mov", "a\u200b.mov", "x" * 10_000, "\r\nERROR fake", "\x1b[2J"]
)  # fmt: skip
sizes: st.SearchStrategy[object] = st.sampled_from(
    [10**18, -1, 2**63, 2**64, 10**400, 1.5, "12", "1e9", "", None, [], True]
)
anything: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
records = st.fixed_dictionaries(
    {"embed_code": st.text("abAB01", min_size=1, max_size=3) | names | anything},
    optional={
        "name": names | anything,
        "original_file_name": names | anything,
        "asset_type": st.just("video") | anything,
        "status": st.just("live") | anything,
        "created_at": st.just("2013-01-02T03:04:05Z") | anything,
        "updated_at": st.just("9999-12-31T23:59:59Z") | anything,
        "duration": sizes | anything,
        "labels": st.lists(st.fixed_dictionaries({"id": names, "name": names}), max_size=2)
        | anything,
        "metadata": st.dictionaries(names, anything, max_size=3) | anything,
        "description": anything,
    },
)
labels = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c"]) | names},
    optional={"name": names | anything, "parent_id": st.sampled_from(["a", "b", "c"]) | anything},
)

streams = st.lists(
    st.fixed_dictionaries(
        {"is_source": st.sampled_from([True, "true", 1, "no"]), "file_size": sizes | anything},
        optional={"url": st.sampled_from(["http://127.0.0.1:1/a", "file:///etc/passwd"]) | names},
    ),
    max_size=2,
)
quickly = settings(max_examples=runs(40), deadline=None, suppress_health_check=list(HealthCheck))


class HostileApi(BaseAdapter):
    """Answers each route with what the test gives it."""

    def __init__(self, documents: dict[str, object]) -> None:
        super().__init__()
        self.documents = documents

    def send(  # type: ignore[override]  # the base spells the optional arguments out; none is used
        self, request: requests.PreparedRequest, **_options: Any
    ) -> requests.Response:
        route = urlsplit(request.url or "").path.rpartition("/")[2]
        found = self.documents.get(route, {"items": []})
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        response = requests.Response()
        response.status_code = 200
        response.request = request
        response.raw = urllib3.HTTPResponse(io.BytesIO(body), preload_content=False)
        return response

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def library(documents: dict[str, object], *layouts: str) -> Iterator[tuple[Stack, Deadline]]:
    """The stack over an API of these documents, listed."""
    clock = HurriedClock()
    account = Account("http://api.example", "KEY", "SECRET")
    with tempfile.TemporaryDirectory(prefix="backlotfs-test-") as cache:
        given_settings = MountSettings(
            account, Path("/unused"), Path(cache), layouts=layouts or ("flat",)
        )
        stack = build_stack(given_settings, clock)
        with closing(stack):
            made = stack.session.transport(clock, account.limits).session
            made.mount("http://", HostileApi(documents))
            stack.catalog.load(Deadline(600.0, clock))
            yield stack, Deadline(20.0, clock)


def assert_legal(name: str) -> None:
    """A name that a directory can hold and `ls` can show."""
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert not [char for char in name if ord(char) < 32 or ord(char) == 127]
    assert len(name.encode("utf-8")) <= 255


@quickly
@given(st.lists(records | anything, max_size=6), st.lists(labels | anything, max_size=4))
def test_any_page_gives_a_listing(items: list[object], named: list[object]) -> None:
    """Legal, distinct names in every layout, at most one for each record, walked to the end."""
    documents: dict[str, object] = {"assets": {"items": items}, "labels": {"items": named}}
    with library(documents, "flat", "labels", "dates", "by-id") as (stack, _):
        flat = [entry.name for entry in stack.namespace.entries(stack.namespace.find("/flat"))]
        assert len(flat) <= len(items)
        waiting = ["/"]
        while waiting:
            folder = waiting.pop()
            entries = list(stack.namespace.entries(stack.namespace.find(folder)))
            seen = [entry.name for entry in entries]
            assert len(set(seen)) == len(seen)
            for entry in entries:
                assert_legal(entry.name)
                path = f"{folder.rstrip('/')}/{entry.name}"
                stack.namespace.xattrs(stack.namespace.find(path))
                if entry.is_directory:
                    waiting.append(path)
            assert len(folder) < 10_000, "folders that hold themselves"


@quickly
@given(streams | anything)
@example([{"is_source": True, "file_size": 10**18, "url": "http://127.0.0.1:1/a"}])
def test_any_source_gives_attributes_or_an_error(found: object) -> None:
    """One of our own errors, with an errno, for sizes and URLs that cannot be."""
    item = {"embed_code": "E1", "original_file_name": "a.mov", "asset_type": "video"}
    documents: dict[str, object] = {"assets": {"items": [item]}, "streams": found}
    documents["source_file_info"] = {"file_size": "-1"}
    with library(documents) as (stack, deadline):
        with pytest.raises(BacklotError) as caught:
            stack.namespace.open(
                stack.namespace.find("/a.mov"), InterruptibleWait(deadline, lambda: False)
            )
        assert caught.value.errno > 0
        assert [entry.name for entry in stack.namespace.entries(stack.namespace.find("/"))] in (
            ["a.mov"],
            [],
        )


def test_what_is_left_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Which record, and why, on one line, whatever is in it; the others are there."""
    bad = [
        {"embed_code": "BAD1", "name": ["no", "text"]},
        {"embed_code": "../\n\x1b[2Jetc", "name": "x"},
        {"name": "nobody"},
        7,
        {"embed_code": "x" * 10_000},
    ]
    good = {"embed_code": "GOOD", "original_file_name": "good.mov", "asset_type": "video"}
    with library({"assets": {"items": [*bad, good]}}) as (stack, _):
        assert [entry.name for entry in stack.namespace.entries(stack.namespace.find("/"))] == [
            "good.mov"
        ]
    lines = [line.getMessage() for line in caplog.records if line.name == "backlotfs.catalog.sync"]
    assert len(lines) == len(bad)
    assert "BAD1" in lines[0]
    assert "name: expected text, got an array" in lines[0]
    for line in lines:
        assert line.isprintable()
        assert len(line) < 300


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"items":[' + b"{}," * 1_000_000 + b"{}]}", "more than 100000 records"),
        (b'{"items":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"items":["' + b"x" * 33 * 2**20 + b'"]}', "more than 32 MiB"),
    ],
)
def test_pages_beyond_reason(body: bytes, says: str) -> None:
    """Refused whole before they are objects in memory; the last good listing stays."""
    item = {"embed_code": "E1", "original_file_name": "a.mov", "asset_type": "video"}
    documents: dict[str, object] = {"assets": {"items": [item]}}
    with library(documents) as (stack, deadline):
        documents["assets"] = body
        with pytest.raises(ProtocolViolation, match=says):
            stack.catalog.load(deadline)
        assert [entry.name for entry in stack.namespace.entries(stack.namespace.find("/"))] == [
            "a.mov"
        ]


def test_many_records_are_listed_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """A server that ignores the limit of a page is believed as far as a page may reach."""
    caplog.set_level(logging.ERROR)  # it is not the warnings that are looked at
    items = [
        {"embed_code": f"E{number}", "original_file_name": "same.mov", "asset_type": "video"}
        for number in range(20_000)
    ]
    with library({"assets": {"items": items}}) as (stack, _):
        seen = [entry.name for entry in stack.namespace.entries(stack.namespace.find("/"))]
    assert len(set(seen)) == len(items)


@pytest.mark.parametrize("size", [10**18, -1, "9" * 30, 1.5, True, ["1"]])
def test_a_size_that_cannot_be_is_said(size: object) -> None:
    """Whoever stats the file gets an error, in one line: whose size, and what is wrong with it."""
    item = {"embed_code": "HOSTILE1", "original_file_name": "a.mov", "asset_type": "video"}
    entry = {"is_source": True, "file_size": size, "url": "http://127.0.0.1:1/a"}
    documents: dict[str, object] = {"assets": {"items": [item]}, "streams": [entry]}
    documents["source_file_info"] = {"file_size": size}
    with library(documents) as (stack, deadline), pytest.raises(BacklotError) as caught:
        stack.namespace.attributes(
            stack.namespace.find("/a.mov"), lambda: InterruptibleWait(deadline, lambda: False)
        )
    line = str(caught.value)
    assert "/HOSTILE1/" in line
    assert "file_size: expected a whole number from 0 to 2^53, got " in line
    assert line.isprintable()
    assert len(line) < 300
