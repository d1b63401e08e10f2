# SPDX-License-Identifier: Apache-2.0
"""Sidecars beside the sources of a library, over a catalog that the test holds."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from backlotfs.api.records import Label
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import NameMode
from backlotfs.errors import NoSuchEntry, NotADirectory, NotSupported
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.providers.sidecars import JsonSidecars, sidecar_inode
from tests.fakes.records import probed_row, row
from tests.fakes.workers import waiter
from tests.unit.namespace.around import KNOWN, Around, content_at


def beside(around: Around, names: NameMode = NameMode.ORIGINAL, **more: Any) -> Namespace:
    """The library of ``around`` with sidecars."""
    sidecars = JsonSidecars(around.parts, around.parts)
    return around.shown(sidecars, names=names, **more)


def impatient() -> InterruptibleWait:
    """Whoever asks for a sidecar must not wait."""
    raise AssertionError("nothing to wait for")


def names(namespace: Namespace, path: str = "/") -> list[str]:
    """A listing."""
    return [entry.name for entry in namespace.entries(namespace.find(path))]


def text(namespace: Namespace, path: str) -> bytes:
    """A sidecar that is there."""
    content = content_at(namespace, path, impatient)
    assert content is not None
    return content


def test_each_source_has_one() -> None:
    """Listed after it; the root has none."""
    around = Around(row("A"), row("B", "b.json"))
    namespace = beside(around)
    assert names(namespace) == ["clip.mov", "clip.mov.json", "b.json", "b.json.json"]
    assert content_at(namespace, "/", impatient) is None
    assert content_at(namespace, "/clip.mov", impatient) is None
    assert content_at(around.namespace, "/clip.mov.json", impatient) is None, "off by default"


def test_its_attributes() -> None:
    """The size of what is in it, the record's time, an inode of its own, no probe, no wait."""
    around = Around(row("A", updated_at_s=77))
    namespace = beside(around)
    found = namespace.attributes(namespace.find("/clip.mov.json"), impatient)
    [listed] = [
        entry for entry in namespace.entries(namespace.find("/")) if entry.name == "clip.mov.json"
    ]
    assert found.size == len(text(namespace, "/clip.mov.json"))
    assert (found.mtime_s, found.mode, found.nlink) == (77, stat.S_IFREG | 0o644, 1)
    assert found.inode == listed.inode == sidecar_inode(row("A").inode) != row("A").inode
    assert not around.probes


def test_the_size_of_the_source_comes_with_its_probe() -> None:
    """Never 0 for "not known yet"."""
    around = Around(row("A"))
    namespace = beside(around)
    assert json.loads(text(namespace, "/clip.mov.json"))["source"] is None
    around.learned["A"] = KNOWN
    assert json.loads(text(namespace, "/clip.mov.json"))["source"]["size"] == 700
    assert namespace.attributes(namespace.find("/clip.mov.json"), impatient).size == len(
        text(namespace, "/clip.mov.json")
    )


def test_a_source_that_is_called_so_wins() -> None:
    """It is listed once, and it is the source; its own sidecar is beside it."""
    around = Around(probed_row("A"), probed_row("B", "clip.mov.json"))
    namespace = beside(around)
    assert names(namespace) == ["clip.mov", "clip.mov.json", "clip.mov.json.json"]
    assert content_at(namespace, "/clip.mov.json", impatient) is None
    assert namespace.attributes(namespace.find("/clip.mov.json"), impatient).inode == row("B").inode


@pytest.mark.parametrize(
    ("mode", "listed"),
    [(NameMode.ORIGINAL, 4), (NameMode.PORTABLE, 3)],
)
def test_letter_case(mode: NameMode, listed: int) -> None:
    """Where names may not differ in case alone, sidecars keep to that; also after a change."""
    around = Around(row("A"))
    namespace = beside(around, mode)
    assert (
        content_at(namespace, "/clip.mov.json", impatient) is not None or mode is NameMode.ORIGINAL
    )
    around.publish(row("A"), row("B", "CLIP.mov.JSON"))
    assert len(names(namespace)) == listed
    assert (content_at(namespace, "/clip.mov.json", impatient) is None) is (
        mode is NameMode.PORTABLE
    )


def test_a_name_that_has_no_room_for_more() -> None:
    """255 bytes are the most: such a source has no sidecar, and the kernel asks for none."""
    around = Around(row("A", "a" * 250), row("B", "b" * 251))
    assert [len(name) for name in names(beside(around))] == [250, 255, 251]


def test_in_folders() -> None:
    """One inode in each place, with as many links as the source; folders have none."""
    label = Label("1", "Racing", "/Racing", None)
    around = Around(row("A"), labels=(label,), members={"1": ["A"]})
    namespace = beside(around, layouts=("labels", "dates"))
    assert names(namespace) == ["labels", "dates"]
    assert names(namespace, "/labels/Racing") == ["clip.mov", "clip.mov.json"]
    places = ["/labels/Racing/clip.mov.json", "/dates/1970/01/clip.mov.json"]
    found = {namespace.attributes(namespace.find(place), impatient) for place in places}
    assert len(found) == 1
    assert found.pop().nlink == 2
    for path in ("/labels.json", "/none/clip.mov.json"):
        with pytest.raises(NoSuchEntry):
            namespace.attributes(namespace.find(path), impatient)
    with pytest.raises(NotADirectory):
        namespace.attributes(namespace.find("/labels/Racing/clip.mov/x/y.json"), impatient)


def test_what_is_hidden_has_none() -> None:
    """With the source comes and goes its sidecar."""
    around = Around(row("A"))
    around.hidden.add("A")
    assert names(beside(around)) == []
    assert content_at(beside(around), "/clip.mov.json", impatient) is None
    everything = beside(around, include_unavailable=True)
    assert names(everything) == ["clip.mov", "clip.mov.json"]


def test_a_deleted_asset() -> None:
    """Whose row is still shown: there is nothing to tell any more."""
    with pytest.raises(NoSuchEntry):
        content_at(beside(Around(row("gone"))), "/clip.mov.json", impatient)


def test_other_uses() -> None:
    """It has no source to open; its extended attributes say what it is."""
    namespace = beside(Around(row("A")))
    with pytest.raises(NotSupported):
        namespace.open(namespace.find("/clip.mov.json"), waiter())
    assert namespace.xattrs(namespace.find("/clip.mov.json")) == {
        "user.backlot.embed_code": b"A",
        "user.mime_type": b"application/json",
    }
    assert (
        namespace.xattr(namespace.find("/clip.mov.json"), "user.mime_type") == b"application/json"
    )
    assert "user.backlot.name" in namespace.xattrs(namespace.find("/clip.mov"))
    assert namespace.open(namespace.find("/clip.mov"), waiter()) == KNOWN.version
