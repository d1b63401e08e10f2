# SPDX-License-Identifier: Apache-2.0
"""The versions and URLs that a mount gives to a process that reads sources itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from backlotfs.api.records import SignedUrl
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import BacklotError, SourceMissing
from backlotfs.mount import direct
from backlotfs.mount.control.client import NoAnswer
from backlotfs.mount.direct import DirectReader, MountUrls
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock

PLACE = Path("/mnt/a")


class Answering:
    """A mount: which files it gives, by path, and what it was asked."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {f"/{code}.mov": code for code in "ABC"}
        self.transport: Mapping[str, Any] | BacklotError = NoAnswer("nobody")
        self.asked: list[tuple[Sequence[str], str | None]] = []

    def __call__(self, place: Path, command: str, **more: Any) -> Mapping[str, Any]:
        """In the place of `control.client.ask`."""
        assert place == PLACE
        if command == "transport":
            if isinstance(self.transport, BacklotError):
                raise self.transport
            return self.transport
        self.asked.append((more["paths"], more.get("refused")))
        return {"files": [self._file(path) for path in more["paths"]]}

    def _file(self, path: str) -> dict[str, Any] | None:
        code = self.codes.get(path)
        if code is None:
            return None
        url = f"https://host/{code}?n={len(self.asked)}"
        return {"path": path, "id": code, "size": 9, "etag": '"v"', "last_modified": None,
                "mtime_s": 7, "url": url}  # fmt: skip


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """It answers instead of a control socket."""
    found = Answering()
    monkeypatch.setattr(direct, "ask", found)
    return found


def url_of(urls: MountUrls, code: str) -> str:
    """The URL of a source."""
    return urls.resolve(code, Deadline(5.0, ManualClock())).url


def test_many_files_are_asked_for_at_once(mount: Answering) -> None:
    """Each is known then; one that the mount keeps for itself is asked for again."""
    urls = MountUrls(PLACE)
    del mount.codes["/B.mov"]
    found = urls.file("/A.mov", ["/B.mov", "/C.mov"])
    assert found == (SourceVersion("A", 9, '"v"', None), 7)
    assert urls.file("/C.mov", []) is not None
    assert len(mount.asked) == 1
    assert urls.file("/B.mov", []) is None


def test_a_refused_url_is_replaced(mount: Answering) -> None:
    """The mount is told which one the host did not take; one that is good is kept."""
    urls = MountUrls(PLACE)
    urls.file("/A.mov", [])
    first = url_of(urls, "A")
    assert url_of(urls, "A") == first
    urls.invalidate("A", SignedUrl.parse("https://host/another"))
    assert url_of(urls, "A") == first
    urls.invalidate("A", SignedUrl.parse(first))
    assert url_of(urls, "A") != first
    assert mount.asked[-1] == (["/A.mov"], first)


def test_a_mount_that_gives_no_url_any_more(mount: Answering) -> None:
    """The file is then read through the mount."""
    urls = MountUrls(PLACE)
    urls.file("/A.mov", [])
    urls.invalidate("A", SignedUrl.parse(url_of(urls, "A")))
    mount.codes.clear()
    for code in "AX":
        with pytest.raises(SourceMissing):
            url_of(urls, code)


def test_one_source_at_two_paths(mount: Answering) -> None:
    """Both are read with its URL."""
    mount.codes["/label/A.mov"] = "A"
    urls = MountUrls(PLACE)
    assert urls.file("/A.mov", ["/label/A.mov"]) == urls.file("/label/A.mov", [])
    assert url_of(urls, "A")
    assert len(mount.asked) == 1


@pytest.mark.parametrize(
    "transport",
    [
        NoAnswer("nobody"),
        {"limited": True},
        {
            "limited": False, "api_url": "https://api", "allow_source_hosts": [], "proxy": None,
            "ca_bundle": "/only/the/mount/reads/it.pem",
        },
        {
            "limited": False, "api_url": "https://api", "allow_source_hosts": [], "ca_bundle": None,
            "proxy": "socks5://what",
        },
    ],
    ids=["no answer", "bandwidth limit", "a CA file that is elsewhere", "an unknown proxy"],
)  # fmt: skip
def test_what_only_the_mount_can_read(mount: Answering, transport: Any) -> None:
    """Is read through it; no export fails for that."""
    mount.transport = transport
    assert DirectReader(1 << 20, lambda: False).open(PLACE, "/A.mov") is None
    assert mount.asked == []
