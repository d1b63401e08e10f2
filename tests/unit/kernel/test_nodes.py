# SPDX-License-Identifier: Apache-2.0
"""The nodes that the kernel knows, against a model of what the kernel keeps."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow, inode_of
from backlotfs.catalog.versions import ProbedSource
from backlotfs.errors import BacklotError, NoSuchEntry
from backlotfs.kernel.nodes import NodeTable, StaleNode
from backlotfs.namespace.attributes import file_attributes
from backlotfs.namespace.tree import Entry, Folder, VirtualFile, VirtualVersion
from tests.fakes.records import row, source_version
from tests.support.long_runs import runs
from tests.unit.namespace.around import Around, Notes

T = TypeVar("T")

ROOT = 1
CODES = "ABC"
#: Each asset is in two folders.
FOLDERS = ("One", "Two")
LABELS = tuple(Label(name, name, f"/{name}", None) for name in FOLDERS)
PICK = st.integers(0, 2**32)


def version(code: str, number: int) -> ProbedSource:
    """One version of a source."""
    return ProbedSource(source_version(code, number, etag=f'"v{number}"'), number, verified=True)


def note(number: int, mtime_s: int = 7) -> VirtualVersion:
    """One version of the virtual file."""
    content = f"{number}".encode()
    return VirtualVersion(content, file_attributes(99, len(content), mtime_s=mtime_s, umask=0o022))


class Library:
    """A library of three files that come, go and are replaced, with its nodes.

    :ivar current: the version that is shown of each file; None: not known.
    :ivar note: what the virtual file is now.
    """

    def __init__(self) -> None:
        self.around = Around(labels=LABELS, layouts=("labels",))
        self.around.members = {name: list(CODES) for name in FOLDERS}
        self.present = set(CODES)
        self.current: dict[str, ProbedSource | None] = {code: version(code, 1) for code in CODES}
        self.note = note(1)
        self._last = 1
        self.publish()
        self.namespace = self.around.shown(Notes(), layouts=("labels",))
        self.table = NodeTable(self.namespace)
        folders = dict(self.namespace.root.folders())
        self.parents = [folders[name].inode for name in FOLDERS]

    def publish(self) -> None:
        """The files that are there now."""
        self.around.publish(*(row(code, f"{code}.mov") for code in sorted(self.present)))

    def another(self, code: str) -> ProbedSource:
        """A version that was not there before."""
        self._last += 1
        return version(code, self._last)

    def look_up(self, parent: int, *names: str) -> list[int]:
        """As LOOKUP of one name, and READDIRPLUS of many."""
        found = [(name, self.table.child(parent, name)) for name in names]
        if "note" in names:
            self.table.follow_virtual(99, lambda: self.note.attributes)
        return self.table.refer(
            parent,
            [
                Entry(
                    name,
                    entry.inode,
                    isinstance(entry, Folder),
                    isinstance(entry, Folder | AssetRow),
                )
                for name, entry in found
            ],
        )


@settings(max_examples=runs(150), stateful_step_count=50)
class Kernel(RuleBasedStateMachine):
    """What a kernel would keep of the answers.

    :ivar lookups: the references to each node that is known.
    :ivar things: what each known node is: an embed code, or the name of a folder or virtual file.
    :ivar shown: the version of each known node of a file.
    :ivar retired: the nodes whose file has another node now.
    :ivar notes: what the virtual file was when a node of it was opened, until it is closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.library = Library()
        self.table = self.library.table
        self.lookups: Counter[int] = Counter()
        self.things: dict[int, str] = {}
        self.shown: dict[int, ProbedSource | None] = {}
        self.retired: set[int] = set()
        self.open: list[int] = []
        self.opened: set[int] = set()
        self.notes: dict[int, VirtualVersion] = {}

    # --- what the kernel asks

    @rule(parent=PICK, code=st.sampled_from(CODES))
    def looks_up(self, parent: int, code: str) -> None:
        """A file; its node is the one that it had, or a new one."""
        folder = _one(self.library.parents, parent)
        if code not in self.library.present:
            with pytest.raises(NoSuchEntry):
                self.library.look_up(folder, f"{code}.mov")
            return
        (node,) = self.library.look_up(folder, f"{code}.mov")
        self._refer(node, code)

    @rule(parent=PICK)
    def lists(self, parent: int) -> None:
        """All files of a folder, and a virtual one."""
        folder, there = _one(self.library.parents, parent), sorted(self.library.present)
        attributes = self.library.note.attributes
        self.retired |= {node for node, was in self.notes.items() if was.attributes != attributes}
        nodes = self.library.look_up(folder, *(f"{code}.mov" for code in there), "note")
        for node, thing in zip(nodes, (*there, "note"), strict=True):
            self._refer(node, thing)

    @rule(parent=PICK)
    def looks_up_a_folder(self, parent: int) -> None:
        """Its node is its inode number."""
        (node,) = self.library.look_up(ROOT, FOLDERS[parent % 2])
        assert node == self.library.parents[parent % 2]
        self._refer(node, FOLDERS[parent % 2])

    def _refer(self, node: int, thing: str) -> None:
        version = self.library.current.get(thing)
        if not self.lookups[node]:
            self.things[node], self.shown[node] = thing, version
        assert self.things[node] == thing, "one number for two things"
        assert node not in self.retired, "a replaced version is given again"
        if self.shown[node] is None:
            self.shown[node] = version
        assert self.shown[node] == version, "the node has changed its version"
        self.lookups[node] += 1

    @precondition(lambda self: self.lookups)
    @rule(nodes=st.lists(st.tuples(PICK, PICK), min_size=1, max_size=5))
    def forgets(self, nodes: list[tuple[int, int]]) -> None:
        """Some references, or all; open files keep one."""
        for which, count in nodes:
            if not self.lookups:
                return
            node = _one(sorted(self.lookups), which)
            most = self.lookups[node] - (node in self.open)
            if most:
                self._forget(node, count % most + 1)

    def _forget(self, node: int, count: int) -> None:
        self.table.forget(node, count)
        self.lookups[node] -= count
        if not self.lookups[node]:
            del self.lookups[node], self.things[node], self.shown[node]
            self.retired.discard(node)
            self.opened.discard(node)

    @precondition(lambda self: self._files())
    @rule(which=PICK)
    def opens(self, which: int) -> None:
        """A node whose file is what it was; of a replaced version it is refused."""
        node = _one(self._files(), which)
        code = self.things[node]
        current = self.library.current[code]
        if current is None or code not in self.library.present:
            return
        fits = node not in self.retired
        assert self.table.bind(node, current.version) is fits
        if fits:
            self.shown[node] = current
            self.open.append(node)
            self.opened.add(node)

    @precondition(lambda self: self.open)
    @rule(which=PICK)
    def closes(self, which: int) -> None:
        """One of the open files."""
        node = _one(self.open, which)
        self.open.remove(node)
        self.table.closed(node)
        if node not in self.open:
            self.notes.pop(node, None)

    @precondition(lambda self: "note" in self.things.values())
    @rule(which=PICK)
    def opens_the_virtual_file(self, which: int) -> None:
        """Only a node that is not open with other bytes."""
        nodes = sorted(node for node, thing in self.things.items() if thing == "note")
        node, now = _one(nodes, which), self.library.note
        fits = node not in self.retired and self.notes.get(node, now).content == now.content
        assert self.table.bind_virtual(node, now) is fits
        if fits:
            self.notes.setdefault(node, now)
            self.open.append(node)
        else:
            self.retired.add(node)

    # --- what happens meanwhile

    @rule(number=st.integers(1, 3), mtime_s=st.integers(1, 2))
    def edits_the_virtual_file(self, number: int, mtime_s: int) -> None:
        """With or without another time."""
        self.library.note = note(number, mtime_s)

    @rule(code=st.sampled_from(CODES), gone=st.booleans())
    def is_replaced(self, code: str, gone: bool) -> None:
        """Another version is found, or that there is none."""
        before = self.library.current[code]
        if before is not None and code in self.library.present:
            self._retires(code, before)
        self.library.current[code] = None if gone else self.library.another(code)

    @precondition(lambda self: self.opened - self.retired)
    @rule(which=PICK)
    def is_found_replaced_by_an_open(self, which: int) -> None:
        """Before anybody was told."""
        node = _one(sorted(self.opened - self.retired), which)
        code = self.things[node]
        if code not in self.library.present:
            return
        current = self.library.another(code)
        assert not self.table.bind(node, current.version)
        self.library.current[code] = current
        self.retired.add(node)

    @rule(code=st.sampled_from(CODES))
    def is_deleted_or_made_again(self, code: str) -> None:
        """With the same embed code."""
        if code in self.library.present:
            before = self.library.current[code]
            if before is not None:
                self._retires(code, before)
            self.library.present.remove(code)
            self.library.current[code] = None
        else:
            self.library.present.add(code)
            self.library.current[code] = self.library.another(code)
        self.library.publish()

    def _retires(self, code: str, before: ProbedSource) -> None:
        known = [
            node for node in self._files() if self.things[node] == code and node not in self.retired
        ]
        assert len(known) <= 1, "a file has two nodes"
        assert self.table.retire(code, before) is bool(known)
        self.retired.update(known)

    # --- what is always so

    def _files(self) -> list[int]:
        return sorted(node for node, thing in self.things.items() if thing in CODES)

    @invariant()
    def counts_agree(self) -> None:
        """The table knows what the kernel knows."""
        assert len(self.table) == len(self.lookups)

    @invariant()
    def a_node_is_what_it_was(self) -> None:
        """And a replaced one keeps its version while it is open."""
        for node, thing in self.things.items():
            if node in self.notes:
                assert self.table.opened_virtual(node) == self.notes[node].attributes
            else:
                assert self.table.opened_virtual(node) is None
            if thing not in CODES and node not in self.retired:
                found = self.table.found(node)
                assert isinstance(found, Folder if thing in FOLDERS else VirtualFile)
            elif node in self.retired:
                with pytest.raises(StaleNode):
                    self.table.found(node)
                if node not in self.open:
                    with pytest.raises(StaleNode):
                        self.table.retired(node)
                    continue
                kept = self.table.retired(node)
                if thing == "note":
                    assert kept is None
                    continue
                shown = self.shown[node]
                assert kept is not None
                assert shown is not None
                assert kept.version == shown.version
            elif thing in self.library.present:
                found = self.table.found(node)
                assert isinstance(found, AssetRow)
                assert found.embed_code == thing
                assert self.table.retired(node) is None
                assert self.table.node_of(found) == node
            else:
                with pytest.raises(NoSuchEntry):
                    self.table.found(node)

    def teardown(self) -> None:
        """All is closed and forgotten: nothing is left in any table."""
        while self.open:
            self.table.closed(self.open.pop())
        for node, count in list(self.lookups.items()):
            self._forget(node, count)
        left = {name: kept for name, kept in vars(self.table).items() if isinstance(kept, dict)}
        assert not any(left.values()), left


TestKernel = Kernel.TestCase


def _one(of: list[T], which: int) -> T:
    return of[which % len(of)]


def test_nodes_are_inode_numbers_until_a_file_is_replaced() -> None:
    """Then the file has another node, and later another one: never a number that is known."""
    library = Library()
    table, parent = library.table, library.parents[0]
    seen = [library.look_up(parent, "A.mov")[0]]
    assert seen == [inode_of("A")]
    for number in range(2, 5):
        assert table.retire("A", version("A", number - 1))
        assert not table.retire("A", version("A", number - 1)), "the kernel has no node of it"
        seen += library.look_up(parent, "A.mov")
    assert len(set(seen)) == 4
    assert library.look_up(parent, "A.mov") == seen[-1:]
    assert library.look_up(parent, "B.mov") == [inode_of("B")]


def test_a_replacement_that_the_kernel_does_not_know_of() -> None:
    """Nothing has to be told, and the number stays."""
    library = Library()
    assert not library.table.retire("A", version("A", 1))
    assert library.look_up(library.parents[0], "A.mov") == [inode_of("A")]


def test_numbers_come_back_when_all_is_forgotten() -> None:
    """The file has its inode number again."""
    library = Library()
    table, parent = library.table, library.parents[0]
    (old,) = library.look_up(parent, "A.mov")
    table.retire("A", version("A", 1))
    (new,) = library.look_up(parent, "A.mov")
    table.forget(old, 1)
    assert library.look_up(parent, "A.mov") == [new], "it is known"
    table.forget(new, 2)
    assert library.look_up(parent, "A.mov") == [inode_of("A")]


def test_what_a_kernel_never_sends() -> None:
    """Nodes that are not known are no entries; more is forgotten than there was."""
    library = Library()
    table = library.table
    for node in (0, 2, 12345, 1 << 63, 2**64 - 1):
        with pytest.raises(NoSuchEntry):
            table.found(node)
        with pytest.raises(NoSuchEntry):
            table.child(node, "A.mov")
        assert table.retired(node) is None
        table.forget(node, 2**64 - 1)
    (node,) = library.look_up(library.parents[0], "A.mov")
    table.forget(node, 2**64 - 1)
    assert len(table) == 0
    assert isinstance(table.found(ROOT), Folder)
    table.forget(ROOT, 1)
    assert isinstance(table.found(ROOT), Folder)


def test_a_folder_that_is_gone() -> None:
    """Has no entries; its number may be known for a while."""
    library = Library()
    (node,) = library.look_up(ROOT, "One")
    library.around.labels, library.around.members = LABELS[1:], {"Two": ["A"]}
    library.publish()
    with pytest.raises(BacklotError):
        library.table.found(node)
    with pytest.raises(NoSuchEntry):
        library.table.child(node, "A.mov")
    library.table.forget(node, 1)
    assert len(library.table) == 0


def test_a_virtual_file_is_found_by_its_place() -> None:
    """As long as the kernel knows it."""
    library = Library()
    (node,) = library.look_up(library.parents[0], "note")
    assert isinstance(library.table.found(node), VirtualFile)
    library.table.forget(node, 1)
    with pytest.raises(NoSuchEntry):
        library.table.found(node)
