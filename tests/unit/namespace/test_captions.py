# SPDX-License-Identifier: Apache-2.0
"""Captions beside the sources of a library, over a catalog and a book that the test holds."""

from __future__ import annotations

from typing import Any

import pytest

from backlotfs.catalog.db.captions import Caption
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import NameMode
from backlotfs.errors import NoSuchEntry, NotSupported
from backlotfs.namespace.namespace import Namespace, Provider
from backlotfs.namespace.providers.sidecars import CaptionSidecars, JsonSidecars, sidecar_inode
from tests.fakes.records import row
from tests.fakes.workers import waiter
from tests.unit.namespace.around import Around, content_at

VTT = b"WEBVTT\n"


class Found:
    """What captions there are."""

    version = 0

    def __init__(self, **captions: Caption) -> None:
        self.captions = captions
        self.body: bytes | None = VTT

    def known(self, embed_code: str) -> Caption | None:
        """In memory."""
        return self.captions.get(embed_code)

    def document(self, embed_code: str) -> bytes | None:
        """In the catalog."""
        assert embed_code in self.captions
        return self.body


def vtt(**captions: Caption) -> Found:
    """``A`` has captions."""
    return Found(A=Caption("vtt", len(VTT), 1500), **captions)


def beside(
    around: Around, found: Found, *, json: bool = False, names: NameMode = NameMode.ORIGINAL
) -> Namespace:
    """The library of ``around`` with them."""
    captions: Any = found
    providers: list[Provider] = [JsonSidecars(around.parts, around.parts)] if json else []
    return around.shown(*providers, CaptionSidecars(captions), names=names)


def impatient() -> InterruptibleWait:
    """Whoever asks for captions must not wait."""
    raise AssertionError("nothing to wait for")


def names(namespace: Namespace) -> list[str]:
    """The root."""
    return [entry.name for entry in namespace.entries(namespace.find("/"))]


def test_where_there_are_any() -> None:
    """Beside their source, behind the JSON; nothing beside the others, and no probe of any."""
    around = Around(row("A"), row("B", "b.mov"))
    assert names(beside(around, vtt())) == ["clip.mov", "clip.mov.vtt", "b.mov"]
    both = beside(around, vtt(), json=True)
    assert names(both)[:3] == ["clip.mov", "clip.mov.json", "clip.mov.vtt"]
    assert content_at(both, "/clip.mov.json", impatient) is not None
    assert content_at(beside(around, vtt()), "/clip.mov.vtt", impatient) == VTT
    for path in ("/b.mov.vtt", "/clip.mov.srt", "/clip.mov.json", "/none.vtt"):
        with pytest.raises(NoSuchEntry):
            beside(around, vtt()).find(path)
    assert not around.probes


def test_their_attributes() -> None:
    """The size that is known, the time at which they were asked for, an inode of their own."""
    around = Around(row("A", updated_at_s=2000))
    namespace = beside(around, vtt(), json=True)
    found = namespace.attributes(namespace.find("/clip.mov.vtt"), impatient)
    assert (found.size, found.mtime_s, found.nlink) == (len(VTT), 1500, 1)
    inodes = {entry.name: entry.inode for entry in namespace.entries(namespace.find("/"))}
    assert len(set(inodes.values())) == 3
    assert found.inode == inodes["clip.mov.vtt"] == sidecar_inode(row("A").inode, ".vtt")
    assert namespace.xattrs(namespace.find("/clip.mov.vtt")) == {
        "user.backlot.embed_code": b"A",
        "user.mime_type": b"text/vtt",
    }
    with pytest.raises(NotSupported):
        namespace.open(namespace.find("/clip.mov.vtt"), waiter())


def test_captions_that_come_and_go() -> None:
    """They are as they are known at the moment."""
    around = Around(row("A"))
    found = Found()
    namespace = beside(around, found)
    assert names(namespace) == ["clip.mov"]
    found.captions["A"] = Caption("dfxp", 5, 1500)
    assert names(namespace) == ["clip.mov", "clip.mov.dfxp"]
    found.captions["A"] = Caption("srt", 5, 1500)
    assert names(namespace) == ["clip.mov", "clip.mov.srt"]
    found.body = None  # another mount knows that there are none any more
    with pytest.raises(NoSuchEntry):
        content_at(namespace, "/clip.mov.srt", impatient)


@pytest.mark.parametrize(
    ("mode", "name", "taken"),
    [
        (NameMode.ORIGINAL, "clip.mov.vtt", True),
        (NameMode.ORIGINAL, "CLIP.mov.VTT", False),
        (NameMode.PORTABLE, "CLIP.mov.VTT", True),
    ],
)
def test_a_source_that_is_called_so_wins(mode: NameMode, name: str, taken: bool) -> None:
    """It is the source, and there are no captions of that name."""
    around = Around(row("A"), row("B", name))
    namespace = beside(around, vtt(), names=mode)
    assert names(namespace).count("clip.mov.vtt") == (
        1 if name == "clip.mov.vtt" or not taken else 0
    )
    assert (content_at(namespace, "/clip.mov.vtt", impatient) is None) == taken


def test_no_room_and_no_source() -> None:
    """Neither a name of more than 255 bytes, nor captions of what is hidden."""
    around = Around(row("A", "a" * 252))
    assert len(names(beside(around, vtt()))) == 1
    around.publish(row("A"))
    around.hidden.add("A")
    assert names(beside(around, vtt())) == []
    assert content_at(beside(around, vtt()), "/clip.mov.vtt", impatient) is None
