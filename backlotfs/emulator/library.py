# SPDX-License-Identifier: Apache-2.0
"""The emulated library: records in the API's order, and methods that change them.

Any thread may call any method. Records and tuples are immutable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from threading import RLock
from typing import Any

from backlotfs.emulator.assets import (
    BytesContent,
    Content,
    DeletedAsset,
    EmulatedAsset,
    EmulatedLabel,
    FileContent,
    SyntheticContent,
    seed_of,
    synthetic_assets,
)
from backlotfs.emulator.folder_library import FolderLibrary, read_folder


class Library:
    """Assets and labels of one account."""

    def __init__(
        self,
        assets: Iterable[EmulatedAsset] = (),
        labels: Iterable[EmulatedLabel] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start with ``assets`` and ``labels``; later changes get their times from ``clock``.

        :raises ValueError: two assets have the same embed code.
        """
        self._lock = RLock()
        self._clock = clock
        self._assets: dict[str, EmulatedAsset] = {}
        self._labels = {label.label_id: label for label in labels}
        self._deleted: list[DeletedAsset] = []
        self._kept: dict[str, dict[str, Content]] = {}
        self._ordered: tuple[EmulatedAsset, ...] | None = None
        self._has_files = False
        for asset in assets:
            self.add(asset)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        follow_links: bool = False,
    ) -> Library:
        """Every regular file below ``path`` as an asset; see ``backlotfs.emulator.folder_library``.

        :param follow_links: also serve the targets of links, inside and outside of the folder.
        :raises ValueError: the folder or its ``library.json`` cannot be used; one sentence.
        """
        found = read_folder(Path(path), follow_links=follow_links)
        return cls(found.assets, found.labels)

    @classmethod
    def synthetic(
        cls,
        count: int,
        *,
        size_bytes: int | Callable[[int], int] = 5_000_000,
    ) -> Library:
        """``count`` made-up videos; see ``backlotfs.emulator.assets``.

        :param size_bytes: size of each, or a function of the index.
        """
        return cls(synthetic_assets(count, size_bytes=size_bytes))

    def __len__(self) -> int:
        """Number of assets."""
        return len(self._assets)

    @property
    def has_files(self) -> bool:
        """Whether the source of any asset is or was a file. To open a file can take time."""
        return self._has_files

    def ordered(self) -> tuple[EmulatedAsset, ...]:
        """All assets, newest ``created_at`` first, then by embed code: the API's default order."""
        with self._lock:
            if self._ordered is None:
                self._ordered = tuple(
                    sorted(self._assets.values(), key=lambda a: (-a.created_at, a.embed_code))
                )
            return self._ordered

    def get(self, embed_code: str) -> EmulatedAsset:
        """The asset of this embed code.

        :raises KeyError: when there is none.
        """
        with self._lock:
            return self._assets[embed_code]

    def find(self, asset_id: str) -> EmulatedAsset | None:
        """The asset of this embed code or, failing that, of this ``external_id``."""
        with self._lock:
            found = self._assets.get(asset_id)
            if found is not None:
                return found
            return next((a for a in self._assets.values() if a.external_id == asset_id), None)

    def object(self, key: str) -> Content | None:
        """The source object with this key: an asset's current object, or a kept old one."""
        embed_code = key.partition("/")[0]
        with self._lock:
            asset = self._assets.get(embed_code)
            kept = self._kept.get(embed_code, {}).get(key)
        # without the lock, because the key contains the size, for which a file may be looked up
        if asset is not None and asset.object_key == key:
            return asset.content
        return kept

    def add(self, asset: EmulatedAsset) -> EmulatedAsset:
        """Add an asset.

        :raises ValueError: its embed code is in use.
        """
        with self._lock:
            if asset.embed_code in self._assets:
                raise ValueError(f"two assets have the embed code {asset.embed_code}")
            self._put(asset)
        return asset

    def edit(self, embed_code: str, **fields: Any) -> EmulatedAsset:
        """Change fields of a record; ``updated_at`` changes too, the source does not.

        :raises KeyError: there is no such asset.
        :raises TypeError: an asset has no such field.
        """
        with self._lock:
            old = self._assets[embed_code]
            return self._put(replace(old, **{"updated_at": self._later_than(old), **fields}))

    def replace(
        self,
        embed_code: str,
        *,
        content: Content | bytes | None = None,
        path: str | Path | None = None,
        size: int | None = None,
        keep_old: bool = False,
    ) -> EmulatedAsset:
        """Upload another source for an asset: exactly one of ``content``, ``path`` or ``size``.

        ``size`` means new synthetic bytes of that length. ``updated_at`` always changes. ETag and
        ``Last-Modified`` change too, but a `Content` keeps its own. The object key changes if the
        size differs. With ``keep_old`` the key always changes, and the URLs of the old object
        remain valid until the asset is deleted, as on a host that never overwrites an object.

        :raises KeyError: there is no such asset.
        :raises ValueError: not exactly one source is named.
        """
        if sum(given is not None for given in (content, path, size)) != 1:
            raise ValueError("name exactly one of content, path or size")
        with self._lock:
            old = self._assets[embed_code]
            moment = self._later_than(old)
            if old.content is not None:
                moment = max(moment, old.content.last_modified + 1)
            if path is not None:
                content = FileContent(Path(path), not_before=moment)
            elif size is not None:
                content = SyntheticContent(seed_of(f"{embed_code}:{moment}"), size, moment)
            elif isinstance(content, bytes):
                content = BytesContent(content, moment)
            if keep_old and old.content is not None:
                self._kept.setdefault(embed_code, {})[old.object_key] = old.content
            upload = old.upload + keep_old
            return self._put(replace(old, content=content, updated_at=moment, upload=upload))

    def follow(self, before: FolderLibrary, after: FolderLibrary) -> None:
        """Take over what changed in a media folder between two calls of ``read_folder``.

        The date of a changed file is seen without this method. If the date is not later than
        before, the record is changed here.
        """
        old = {asset.embed_code: asset for asset in before.assets}
        new = {asset.embed_code: asset for asset in after.assets}
        old_labels = {label.label_id: label for label in before.labels}
        touched = before.touched(after)
        with self._lock:
            self._labels |= {label.label_id: label for label in after.labels}
            for code in old.keys() - new.keys() & self._assets.keys():
                self.delete(code)
            for code, asset in new.items():
                if code not in old:
                    # a new asset gets the present time, even if its file has an old date
                    moment = max(int(self._clock()), asset.changed_at)
                    self._assets.setdefault(code, replace(asset, updated_at=moment))
                    self._deleted = [one for one in self._deleted if one.asset.embed_code != code]
                    self._ordered, self._has_files = None, True
                    continue
                changed = {
                    one.name: getattr(asset, one.name)
                    for one in fields(asset)
                    if getattr(asset, one.name) != getattr(old[code], one.name)
                }
                if changed or code in touched:
                    self.edit(code, **changed)
            for label_id in old_labels.keys() - {label.label_id for label in after.labels}:
                self.delete_label(label_id)

    def delete(self, embed_code: str) -> None:
        """Remove an asset; from now on only ``/v2/deleted_assets`` lists it.

        :raises KeyError: there is no such asset.
        """
        with self._lock:
            asset = self._assets.pop(embed_code)
            self._kept.pop(embed_code, None)
            # not before its last change, which may be in the future after two changes in a second
            moment = max(int(self._clock()), asset.changed_at)
            self._deleted.append(DeletedAsset(asset, moment))
            self._ordered = None

    def deleted(self) -> list[DeletedAsset]:
        """Deleted assets, the newest deletion first, then by embed code."""
        with self._lock:
            return sorted(self._deleted, key=lambda d: (-d.deleted_at, d.asset.embed_code))

    def labels(self) -> list[EmulatedLabel]:
        """All labels, by name without regard to case."""
        with self._lock:
            return sorted(self._labels.values(), key=lambda one: (one.name.lower(), one.label_id))

    def label(self, label_id: str) -> EmulatedLabel | None:
        """The label of this id, if there is one."""
        with self._lock:
            return self._labels.get(label_id)

    def put_label(self, label: EmulatedLabel) -> EmulatedLabel:
        """Add a label, or replace the label with its id."""
        with self._lock:
            self._labels[label.label_id] = label
        return label

    def delete_label(self, label_id: str) -> None:
        """Remove a label, also from its assets.

        :raises KeyError: there is no such label.
        """
        with self._lock:
            del self._labels[label_id]
            for asset in [a for a in self._assets.values() if label_id in a.label_ids]:
                rest = tuple(one for one in asset.label_ids if one != label_id)
                self.edit(asset.embed_code, label_ids=rest)

    def full_name(self, label: EmulatedLabel) -> str:
        """``/Sports/Racing``: the names from the top, each after a slash."""
        with self._lock:
            names = [label.name]
            seen = {label.label_id}
            parent = self._labels.get(label.parent_id or "")
            while parent is not None and parent.label_id not in seen:
                seen.add(parent.label_id)
                names.append(parent.name)
                parent = self._labels.get(parent.parent_id or "")
        return "".join(f"/{name}" for name in reversed(names))

    def _put(self, asset: EmulatedAsset) -> EmulatedAsset:
        self._assets[asset.embed_code] = asset
        self._ordered = None
        self._has_files = self._has_files or isinstance(asset.content, FileContent)
        return asset

    def _later_than(self, asset: EmulatedAsset) -> int:
        # the API shows whole seconds, so two changes in one second must get different times
        return max(int(self._clock()), asset.changed_at + 1)
