"""How the catalog names assets that have no name yet: by the rules of `name_modes`."""

from __future__ import annotations

from backlotfs.catalog.db.names import Naming
from backlotfs.namespace.name_modes import NameMode, assign, key


def naming(mode: NameMode) -> Naming:
    """The rules of this mode; names that were given before stay."""
    return Naming(
        mode,
        lambda nameless, taken: assign(mode, nameless, taken),
        key_of=lambda name: key(mode, name),
    )
