"""Names for the assets of a store that have none: given once, kept there."""

from __future__ import annotations

from collections.abc import Container

from backlotfs.catalog.db.rows import NamelessAsset
from backlotfs.catalog.db.store import CatalogStore
from backlotfs.namespace.name_modes import NameMode, assign, key


def give_names(store: CatalogStore, mode: NameMode) -> None:
    """Give every asset of the store a name in this mode; names given before stay."""

    def chosen(nameless: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
        return assign(mode, nameless, taken)

    store.give_names(mode, chosen, key_of=lambda name: key(mode, name))
