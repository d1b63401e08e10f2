# SPDX-License-Identifier: Apache-2.0
"""What a mount answers to a process that reads sources itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backlotfs.api.records import SignedUrl
from backlotfs.catalog.db.table import AssetTable
from backlotfs.catalog.versions import ProbedSource
from backlotfs.config.proxy import Proxy
from backlotfs.config.settings import Account, MountSettings, NameMode
from backlotfs.errors import NoSuchEntry, SourceMissing
from backlotfs.mount.control.client import problem_of
from backlotfs.mount.control.handlers import direct_handlers
from backlotfs.namespace.layouts import build
from backlotfs.namespace.tree import node_at
from backlotfs.source.version import SourceVersion
from tests.fakes.records import row
from tests.unit.namespace.around import Note

ACCOUNT = Account("https://api.example", "key", "secret", proxy=Proxy("proxy.example", 3128))


class Asked:
    """The parts of a stack that are asked."""

    def __init__(self, *, bandwidth_bytes_s: float = 0.0) -> None:
        self.cached_bytes = 0
        self.free = {"E1", "E2"}
        self.fresh = {"E1", "E2"}
        self.refused: list[str] = []
        rows = AssetTable([row("E1", "a.mov"), row("E2", "b.mov")])
        root = build(["flat"], rows, (), {}, names=NameMode.ORIGINAL).root

        def find(path: str) -> object:
            return Note() if path == "/a.mov.json" else node_at(root, path)

        resolver = SimpleNamespace(
            is_free=lambda code: code in self.free,
            has_fresh=lambda code: code in self.fresh,
            resolve=self._resolve,
            invalidate=lambda _code, url: self.refused.append(url.url),
        )
        self.version = SourceVersion("E1", 100, '"v1"', None)
        stack: Any = SimpleNamespace(
            namespace=SimpleNamespace(
                find=find,
                open=self._open,
                root=root,
                attributes_of_version=lambda known: SimpleNamespace(mtime_s=known.mtime_s),
            ),
            reading=SimpleNamespace(cached=SimpleNamespace(bytes_of=lambda _v: self.cached_bytes)),
            resolver=resolver,
            versions=SimpleNamespace(known=self._known),
            probes=SimpleNamespace(is_queued=lambda _code: False),
        )
        settings = MountSettings(
            ACCOUNT, Path("/m"), Path("/c"), bandwidth_bytes_s=bandwidth_bytes_s
        )
        self.handlers = direct_handlers(settings, stack)

    def sources(self, *paths: str, **more: str) -> list[Any]:
        """Ask for files; the answer has the form that the client wants."""
        answer = self.handlers["sources"]({"paths": list(paths), **more})
        assert problem_of(answer, "sources") is None
        found: list[Any] = answer["files"]
        return found

    def _known(self, code: str) -> ProbedSource:
        return ProbedSource(replace(self.version, embed_code=code), 1234, verified=True)

    @staticmethod
    def _open(found: Any, _waiter: object) -> SourceVersion:
        if found is None:
            raise NoSuchEntry("no such file")
        return SourceVersion(found.embed_code, 100, '"v1"', None)

    @staticmethod
    def _resolve(code: str, _deadline: object) -> SignedUrl:
        return SignedUrl(f"https://host.example/{code}?Signature=s")


def test_versions_and_urls() -> None:
    """Of each file that was asked for."""
    first, second = Asked().sources("/a.mov", "/b.mov")
    assert first == {
        "path": "/a.mov", "id": "E1", "size": 100, "etag": '"v1"', "last_modified": None,
        "mtime_s": 1234, "url": "https://host.example/E1?Signature=s",
    }  # fmt: skip
    assert second["id"] == "E2"


def test_files_that_are_read_through_the_mount() -> None:
    """A generated file, one that is cached, and one whose URL costs a credit."""
    asked = Asked()
    assert asked.sources("/a.mov.json") == [None]
    asked.free.clear()
    assert asked.sources("/a.mov") == [None]
    asked.free.add("E1")
    asked.cached_bytes = 50
    assert asked.sources("/a.mov") == [None]
    asked.cached_bytes = 49
    assert asked.sources("/a.mov") != [None]


def test_a_file_that_is_replaced_just_now() -> None:
    """Its time would be that of another version."""
    asked = Asked()
    asked.version = SourceVersion("E1", 100, '"v2"', None)
    assert asked.sources("/a.mov") == [None]


def test_a_file_without_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The read through the mount says what is wrong."""
    asked = Asked()

    def missing(_found: object, _waiter: object) -> SourceVersion:
        raise SourceMissing("the API knows no source file")

    monkeypatch.setattr(Asked, "_open", staticmethod(missing))
    assert Asked().sources("/a.mov") == [None]
    assert asked.sources("/a.mov") != [None]


def test_only_the_first_is_waited_for() -> None:
    """Of the others only those that are known: the API would hold up all."""
    asked = Asked()
    asked.fresh.clear()
    assert [file["id"] for file in asked.sources("/a.mov", "/b.mov", "/gone.mov")] == ["E1"]


def test_a_refused_url_is_forgotten() -> None:
    """Before another is resolved."""
    asked = Asked()
    asked.sources("/a.mov", refused="https://host.example/E1?Signature=old")
    assert asked.refused == ["https://host.example/E1?Signature=old"]


def test_how_hosts_are_reached() -> None:
    """As the mount reaches them; with a bandwidth limit only through the mount."""
    answer = Asked().handlers["transport"]({})
    assert problem_of(answer, "transport") is None
    assert answer == {
        "api_url": "https://api.example", "allow_source_hosts": [], "ca_bundle": None,
        "proxy": "http://proxy.example:3128", "limited": False,
    }  # fmt: skip
    assert Asked(bandwidth_bytes_s=1e6).handlers["transport"]({})["limited"]
