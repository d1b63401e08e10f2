"""Routes about labels: the tree, one label, its children, its assets, and look-up by path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from backlotfs.emulator.asset_routes import AssetRoutes
from backlotfs.emulator.dialect import label_record
from backlotfs.emulator.http_types import Answer, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.records import EmulatedLabel


def split_full_paths(text: str) -> list[list[str]]:
    """``/Sports/Racing,/Other`` as lists of names; ``~`` keeps a ``/``, ``,`` or ``~`` literal."""
    paths: list[list[str]] = []
    names: list[str] = [""]
    for token in re.findall(r"~.|[^~]|~", text, flags=re.DOTALL):
        if token == ",":
            paths.append([name for name in names if name])
            names = [""]
        elif token == "/":
            names.append("")
        else:
            names[-1] += token[1:] if len(token) == 2 else token
    paths.append([name for name in names if name])
    return [path for path in paths if path]


class LabelRoutes:
    """Handlers of the label routes. Thread-safe."""

    def __init__(self, library: Library, assets: AssetRoutes) -> None:
        """Serve the labels of ``library``; ``assets`` pages a label's assets."""
        self._library = library
        self._assets = assets

    def handlers(self) -> dict[str, Callable[[ReceivedRequest, str], Answer]]:
        """Route name to handler; a handler gets the request and the decoded id or path."""
        return {
            "labels": self._all,
            "label": self._one,
            "label_children": self._children,
            "label_assets": self._label_assets,
            "labels_by_full_path": self._by_full_path,
            "asset_labels": self._asset_labels,
        }

    def _items(self, labels: Iterable[EmulatedLabel]) -> Answer:
        return Answer.json({"items": [label_record(label, self._library) for label in labels]})

    def _all(self, request: ReceivedRequest, _subject: str) -> Answer:
        root_only = dict(request.parameters).get("is_root") == "true"
        return self._items(
            label for label in self._library.labels() if not root_only or label.parent_id is None
        )

    def _one(self, _request: ReceivedRequest, label_id: str) -> Answer:
        label = self._library.label(label_id)
        if label is None:
            return _no_label(label_id)
        count = sum(label_id in asset.label_ids for asset in self._library.ordered())
        return Answer.json({**label_record(label, self._library), "asset_count": count})

    def _children(self, _request: ReceivedRequest, label_id: str) -> Answer:
        if self._library.label(label_id) is None:
            return _no_label(label_id)
        return self._items(one for one in self._library.labels() if one.parent_id == label_id)

    def _label_assets(self, request: ReceivedRequest, label_id: str) -> Answer:
        if self._library.label(label_id) is None:
            return _no_label(label_id)
        carrying = [a for a in self._library.ordered() if label_id in a.label_ids]
        return self._assets.listing(request, carrying)

    def _by_full_path(self, _request: ReceivedRequest, text: str) -> Answer:
        by_name: dict[str, list[EmulatedLabel]] = {}
        for label in self._library.labels():
            by_name.setdefault(self._library.full_name(label), []).append(label)
        found: list[EmulatedLabel] = []
        missing: list[str] = []
        for wanted in dict.fromkeys(
            "".join(f"/{name}" for name in names) for names in split_full_paths(text)
        ):
            found += by_name.get(wanted, [])
            if wanted not in by_name:
                missing.append(wanted)
        if missing:
            return Answer.message(400, "Some labels do not exist.", missing_labels=missing)
        return self._items(found)

    def _asset_labels(self, _request: ReceivedRequest, asset_id: str) -> Answer:
        asset = self._library.find(asset_id)
        if asset is None:
            return Answer.message(404, f"No asset exists with the id {asset_id}.")
        return self._items(one for one in self._library.labels() if one.label_id in asset.label_ids)


def _no_label(label_id: str) -> Answer:
    return Answer.message(404, f"No label exists with the id {label_id}.")
