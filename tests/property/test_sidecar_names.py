# SPDX-License-Identifier: Apache-2.0
"""Sidecars beside any sources, in any mode: no name twice, no source lost, every size true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import Asset
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import MAX_NAME_BYTES, assign, key
from backlotfs.namespace.providers.sidecars import JsonSidecars
from tests.fakes.records import asset, row
from tests.unit.namespace.around import Around, content_at

#: Names that are each other's sidecars, but for case or length.
LIKELY = ["a", "A", "a.json", "A.JSON", "a.json.json", "a.Json", "İ", "b.mov", "x" * 250, "x" * 251]
uploads = st.lists(st.sampled_from(LIKELY) | st.text("aA.jsonJ ", max_size=9), max_size=8)


class Recorded(Around):
    """A library that has a record of every asset."""

    def record(self, embed_code: str) -> Asset | None:
        return asset(embed_code, title="é" * len(embed_code))


def impatient() -> InterruptibleWait:
    """No sidecar waits."""
    raise AssertionError("nothing to wait for")


@given(
    names=uploads, mode=st.sampled_from(NameMode), layouts=st.sampled_from([("flat",), ("dates",)])
)
def test_sidecars_of_any_library(
    names: list[str], mode: NameMode, layouts: tuple[str, ...]
) -> None:
    """What is listed is what can be looked up, and what cannot be listed is not there either."""
    assets = {f"E{number}": asset(f"E{number}", name) for number, name in enumerate(names)}
    given_names = assign(mode, assets.values(), set())
    around = Recorded(*(row(code, name) for code, name in given_names.items()))
    sidecars = JsonSidecars(around.parts, around.parts)
    namespace = around.shown(sidecars, layouts=layouts, names=mode)
    place = "/" if layouts == ("flat",) or not assets else "/1970/01/"
    listed = [entry.name for entry in namespace.entries(namespace.find(place))]
    sources = set(given_names.values())

    assert len({key(mode, name) for name in listed}) == len(listed)
    assert sources <= set(listed)
    assert all(len(name.encode()) <= MAX_NAME_BYTES for name in listed)
    for name in listed:
        content = content_at(namespace, place + name, impatient)
        assert (content is None) == (name in sources)
        if content is not None:
            assert name.removesuffix(".json") in sources
            assert namespace.attributes(namespace.find(place + name), impatient).size == len(
                content
            )
    for name in sources - {
        listed_name.removesuffix(".json") for listed_name in set(listed) - sources
    }:
        assert content_at(namespace, f"{place}{name}.json", impatient) is None
