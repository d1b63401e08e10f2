"""Labels to a forest of named folders. Pure, and without recursion: labels nest as they like.

The tree is built from ``parent_id``; ``full_name`` cannot tell a ``/`` in a name from a level. What
a server may say of parents is taken as follows: an unknown parent is none, and a cycle is cut at
its smallest id, which goes to the top level. So every label has exactly one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from backlotfs.api.records import Label
from backlotfs.namespace.name_modes import NameMode, distinct, key, legal, tag


class LabelPlace(NamedTuple):
    """Where the folder of a label is.

    :ivar parent_id: a label of the same forest; None at the top level.
    :ivar name: unlike that of any sibling.
    """

    label_id: str
    parent_id: str | None
    name: str


def label_places(
    labels: Iterable[Label], mode: NameMode, *, reserved: Iterable[str]
) -> list[LabelPlace]:
    """One place per label id, smallest id first.

    Of siblings with the same name the smallest id keeps it, each other gets `` [id]``.

    :param reserved: names that no label has at the top level.
    """
    by_id: dict[str, Label] = {}
    for label in sorted(labels, key=lambda label: (label.id, label.name, label.parent_id or "")):
        by_id.setdefault(label.id, label)  # a page that moved can show one twice
    parents = _acyclic(
        {
            label.id: label.parent_id if label.parent_id in by_id else None
            for label in by_id.values()
        }
    )
    taken: dict[str | None, set[str]] = {None: {key(mode, name) for name in reserved}}
    places = []
    for label in by_id.values():
        siblings = taken.setdefault(parents[label.id], set())
        name = distinct(mode, _wanted(mode, label), label.id, siblings)
        siblings.add(key(mode, name))
        places.append(LabelPlace(label.id, parents[label.id], name))
    return places


def _wanted(mode: NameMode, label: Label) -> str:
    """The name of a label's folder when no sibling has it; a blank one is no name."""
    name = legal(mode, label.name) if label.name.strip() else ""
    return name or legal(mode, tag(label.id))


def _acyclic(parents: Mapping[str, str | None]) -> dict[str, str | None]:
    """``parents``, each cycle cut at its smallest id."""
    tree = dict(parents)
    settled: set[str] = set()
    for start in parents:
        way: list[str] = []
        on_way: set[str] = set()
        at: str | None = start
        while at is not None and at not in settled and at not in on_way:
            way.append(at)
            on_way.add(at)
            at = tree[at]
        if at is not None and at in on_way:
            tree[min(way[way.index(at) :])] = None
        settled.update(way)
    return tree
