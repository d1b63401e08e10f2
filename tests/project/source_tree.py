# SPDX-License-Identifier: Apache-2.0
"""The package as source: its modules, what each imports, and the layer each stands on."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "backlotfs"

# Highest first. What stands on one line does not know each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__", "manual", "fsspec"),
    ("cli",),
    ("cluster", "doctor", "demo"),
    ("mount",),
    ("kernel", "export", "thumbnails"),
    ("namespace", "open_files"),
    ("prefetch", "fetch"),
    ("cache", "catalog"),
    ("source",),
    ("api",),
    ("http",),
    ("config",),
    ("concurrency",),
    ("log",),
    ("base",),
)
# The emulator may disagree with the client only as long as they share nothing.
EMULATOR_USERS = frozenset({"cli", "demo"})
# One place for each foreign package whose traps we know, so that it stays replaceable.
FOREIGN_OWNERS = {
    "fuse": "kernel",
    "aiohttp": "emulator",
    "PIL": "thumbnails",
    "prometheus_client": "mount",
    "opentelemetry": "log",
}


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its dotted name and the dotted names of all it imports, anywhere in it."""

    name: str
    imports: tuple[str, ...]

    @property
    def layer(self) -> str:
        """The part of the package it belongs to; ``base`` for the single modules at the top."""
        return layer_of(self.name)


def layer_of(name: str) -> str:
    """``backlotfs.fetch.loader`` → ``fetch``; ``backlotfs.errors`` and the root → ``base``."""
    parts = name.split(".")
    head = parts[1] if len(parts) > 1 else ""
    is_single_module = not (PACKAGE / head).is_dir()
    known = {layer for line in LAYERS for layer in line}
    return "base" if not head or (is_single_module and head not in known) else head


def source_files(*folders: str) -> list[Path]:
    """The Python files below these folders of the checkout."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a source file, parsed once for all tests."""
    return ast.parse(path.read_text("utf-8"))


def modules() -> Iterator[Module]:
    """Every module of the package."""
    for path in source_files("backlotfs"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield Module(name, imported_names(parsed(path), name, is_package=is_package))


def imported_names(tree: ast.Module, name: str, *, is_package: bool) -> tuple[str, ...]:
    """What module ``name`` imports, also in functions and under TYPE_CHECKING.

    ``from backlotfs import errors`` counts as ``backlotfs.errors``, and so do relative imports.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = name.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                origin = ".".join([*parents, *([origin] if origin else [])])
            if origin == "backlotfs":
                found.update(f"backlotfs.{alias.name}" for alias in node.names)
            else:
                found.add(origin)
    return tuple(sorted(found))


def _rank(layer: str) -> int | None:
    return next((rank for rank, line in enumerate(LAYERS) if layer in line), None)


def violation(module: Module, imported: str) -> str | None:
    """Why ``module`` may not import ``imported``; None when it may."""
    arrow = f"{module.name} imports {imported}"
    foreign_owner = FOREIGN_OWNERS.get(imported.split(".")[0])
    if foreign_owner is not None and foreign_owner != module.layer:
        return f"{arrow}: only backlotfs.{foreign_owner} may"
    if imported.split(".")[0] != "backlotfs":
        return None
    here, there = module.layer, layer_of(imported)
    if here == there:
        return None
    if here == "emulator":
        return f"{arrow}: the emulator shares nothing with the client"
    if there == "emulator":
        return None if here in EMULATOR_USERS else f"{arrow}: only the commands may"
    ranks = _rank(here), _rank(there)
    if ranks[0] is None or ranks[1] is None:
        return f"{arrow}: say in LAYERS where {here if ranks[0] is None else there} stands"
    if ranks[1] <= ranks[0]:
        return f"{arrow}: {there} is above or beside {here}"
    return None


def cycles(all_modules: Sequence[Module]) -> list[str]:
    """Every module that imports itself by way of others, with one such way."""
    names = {module.name for module in all_modules}
    # ``from backlotfs.api.records import Asset`` names a module; a package name its __init__.
    edges = {m.name: [i for i in m.imports if i in names and i != m.name] for m in all_modules}
    found = []
    for start in sorted(names):
        ways: list[tuple[str, ...]] = [(start,)]
        seen: set[str] = set()
        while ways:
            way = ways.pop()
            for following in edges[way[-1]]:
                if following == start:
                    found.append(" → ".join((*way, start)))
                    ways.clear()
                    break
                if following not in seen:
                    seen.add(following)
                    ways.append((*way, following))
    return found
