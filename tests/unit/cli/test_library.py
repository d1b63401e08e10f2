# SPDX-License-Identifier: Apache-2.0
"""``ls`` and ``info``: the library without a mount."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.api.paging import EndlessListing
from backlotfs.api.records import Asset, Page, SignedUrl, Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import NoSuchEntry, SourceMissing
from tests.fakes.records import asset

MODULE = import_module("backlotfs.cli.library")


class MadeApi:
    """Two assets that want the same name, and a channel."""

    def __init__(self) -> None:
        hostile = replace(asset("A", "a.mov", title="T\x1b[2J\nnew"), description="d\x1b]0;x\x07")
        self.assets: list[Asset] = [
            hostile,
            asset("B", "a.mov", created_at_s=1_456_868_592),
            asset("C", asset_type="channel"),
        ]
        self.endless = False
        self.source: Source | None = Source(SignedUrl("http://o/a?Signature=s3cret"), 700)

    def iter_pages(self, *, deadline: Deadline) -> Iterator[Page[Asset]]:
        yield Page(tuple(self.assets), (), None)
        for number in range(1000 if self.endless else 0):
            yield Page(tuple(self.assets), (), f"/v2/assets?page_token={number}")

    def get_source(self, embed_code: str, *, deadline: Deadline) -> Source:
        if self.source is None:
            raise SourceMissing(embed_code)
        return self.source


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeApi:
    """In the place of the real one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = MadeApi()
    monkeypatch.setattr(MODULE, "ApiClient", lambda *_args, **_more: found)
    monkeypatch.setattr(MODULE, "check_api", lambda *_args, **_more: None)
    return found


def run(command: str, *arguments: str) -> Result:
    """With credentials."""
    environ = {"BACKLOT_API_KEY": "k", "BACKLOT_API_SECRET": "s"}
    return CliRunner(env=environ).invoke(getattr(MODULE, command), arguments)


@pytest.mark.usefixtures("api")
def test_ls() -> None:
    """One line an asset, by name, named as in a mount."""
    result = run("list_library")
    assert result.exit_code == 0, result.output
    assert [line.split(maxsplit=3)[3] for line in result.output.splitlines()] == [
        "a [B].mov",
        "a.mov",
    ]
    lines = [json.loads(line) for line in run("list_library", "--json").output.splitlines()]
    assert [line["embed_code"] for line in lines] == ["B", "A"]
    assert lines[0]["created_at"] == "2016-03-01T21:43:12Z"


def test_info(api: MadeApi) -> None:
    """By embed code or by name; the size, and no URL."""
    for which in ("B", "a [B].mov"):
        result = run("info", which)
        assert result.exit_code == 0, result.output
        assert "file_size            700" in result.output
        assert "s3cret" not in result.output
    api.source = Source(None, 700)
    assert json.loads(run("info", "B", "--json").output)["source"] == "no URL"
    api.source = None
    assert json.loads(run("info", "B", "--json").output)["source"] == "missing"


@pytest.mark.usefixtures("api")
def test_info_keeps_a_terminal_safe() -> None:
    """A title may hold anything; what it does to a terminal is not the server's to say."""
    result = run("info", "A")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


@pytest.mark.usefixtures("api")
def test_info_of_nothing() -> None:
    """Says how to list them; a channel is no file."""
    for which in ("none", "C"):
        error = run("info", which).exception
        assert isinstance(error, NoSuchEntry)
        assert "backlotfs ls" in str(error)


def test_a_listing_without_an_end(api: MadeApi) -> None:
    """Given up, as a mount does, before it fills the memory."""
    api.endless = True
    for result in (run("list_library"), run("info", "A")):
        assert isinstance(result.exception, EndlessListing)
