# SPDX-License-Identifier: Apache-2.0
"""What stands in a sidecar."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import Asset, Label
from backlotfs.namespace.providers.sidecars import sidecar_text
from tests.fakes.records import LAST_MODIFIED, asset, source_version

FULL = Asset(
    "E1",
    "Überschwemmung",
    "flood.mov",
    "video",
    "live",
    1_456_868_592,
    1_456_868_965,
    61_583,
    description="Zeile 1\nZeile 2",
    external_id="X-7",
    preview_image_url="http://preview",
    metadata={"shoot": "7", "camera": "A"},
    labels=(
        Label("2", "Racing", "/Sports/Racing", "1"),
        Label("9", "Archive", "/Archive", None),
    ),
)


def test_all_of_it() -> None:
    """As docs/sidecars.md describes it."""
    assert json.loads(sidecar_text(FULL, source_version("E1", 400_868))) == {
        "sidecar_format": 1,
        "embed_code": "E1",
        "title": "Überschwemmung",
        "description": "Zeile 1\nZeile 2",
        "asset_type": "video",
        "status": "live",
        "original_file_name": "flood.mov",
        "external_id": "X-7",
        "duration_ms": 61_583,
        "created_at": "2016-03-01T21:43:12Z",
        "updated_at": "2016-03-01T21:49:25Z",
        "metadata": {"camera": "A", "shoot": "7"},
        "labels": [
            {"id": "9", "name": "Archive", "full_name": "/Archive"},
            {"id": "2", "name": "Racing", "full_name": "/Sports/Racing"},
        ],
        "source": {"size": 400_868, "etag": '"v1"', "last_modified": LAST_MODIFIED},
    }


def test_what_is_not_known_is_null() -> None:
    """Every key is there all the same; a source not probed yet has no size, not size 0."""
    bare = json.loads(sidecar_text(asset("E1", None, created_at_s=0), None))
    assert sorted(bare) == sorted(json.loads(sidecar_text(FULL, None)))
    for field in ("description", "original_file_name", "external_id", "created_at", "source"):
        assert bare[field] is None
    assert (bare["labels"], bare["metadata"]) == ([], {})


def test_it_is_text_for_people() -> None:
    """UTF-8 as it is, lines, sorted keys, a newline at the end."""
    text = sidecar_text(FULL, None).decode()
    assert '  "title": "Überschwemmung",\n' in text
    assert text.endswith("}\n")
    keys = [line.split('"')[1] for line in text.splitlines() if line.startswith('  "')]
    assert keys == sorted(keys)


def test_the_order_in_which_the_api_tells_plays_no_part() -> None:
    """The same facts are the same bytes: rsync has nothing to do."""
    turned = replace(
        FULL,
        metadata=dict(list(FULL.metadata.items())[::-1]),
        labels=tuple(reversed(FULL.labels or ())),
    )
    assert sidecar_text(turned, None) == sidecar_text(FULL, None)


@given(title=st.text(st.characters()), value=st.text(st.characters()), when=st.integers(0, 2**53))
def test_whatever_the_library_says_it_can_be_read(title: str, value: str, when: int) -> None:
    """Half characters and impossible times too."""
    odd = replace(FULL, title=title, metadata={value: title}, created_at_s=when)
    found = json.loads(sidecar_text(odd, None).decode("utf-8"))
    assert found["title"] == title.encode("utf-8", "replace").decode()
    assert len(found["metadata"]) == 1
