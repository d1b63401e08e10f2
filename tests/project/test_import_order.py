# SPDX-License-Identifier: Apache-2.0
"""The layers of the package: imports go one way."""

from __future__ import annotations

import ast

import pytest

from tests.project.source_tree import Module, cycles, imported_names, modules, violation


def test_imports_go_down() -> None:
    """No module imports from a layer above or beside its own, or a package another layer owns."""
    found = [
        reason
        for module in modules()
        for imported in module.imports
        if (reason := violation(module, imported)) is not None
    ]
    assert found == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """No cycles, within a layer either."""
    assert cycles(list(modules())) == []


@pytest.mark.parametrize(
    ("importer", "imported", "reason"),
    [
        ("backlotfs.http.pool", "backlotfs.api.client", "above"),
        ("backlotfs.open_files.reader", "backlotfs.namespace.tree", "beside"),
        ("backlotfs.catalog.db.connection", "backlotfs.namespace.tree", "above"),
        ("backlotfs.concurrency.clock", "backlotfs.http.pool", "above"),
        ("backlotfs.demo.tour", "backlotfs.cli", "above"),
        ("backlotfs.cache.memory", "backlotfs.catalog.db.rows", "beside"),
        ("backlotfs.emulator.server", "backlotfs.errors", "shares nothing"),
        ("backlotfs.kernel.operations", "backlotfs.emulator", "only the commands"),
        ("backlotfs.cli.main", "fuse", "only backlotfs.kernel"),
        ("backlotfs.http.pool", "aiohttp.web", "only backlotfs.emulator"),
    ],
)
def test_a_wrong_arrow_is_seen(importer: str, imported: str, reason: str) -> None:
    """The rule itself can fail."""
    assert reason in (violation(Module(importer, ()), imported) or "allowed")


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("backlotfs.cli.main", "backlotfs.demo.command"),
        ("backlotfs.cli.main", "backlotfs.emulator.command"),
        ("backlotfs.namespace.tree", "backlotfs.catalog.db.connection"),
        ("backlotfs.kernel.operations", "backlotfs.errors"),
        ("backlotfs.kernel.operations", "fuse"),
        ("backlotfs.api.client", "requests"),
    ],
)
def test_a_right_arrow_is_allowed(importer: str, imported: str) -> None:
    """The rule does not forbid what the layout asks for."""
    assert violation(Module(importer, ()), imported) is None


def test_every_kind_of_import_is_read() -> None:
    """Absolute, from the root, relative, inside a function, for types only."""
    source = (
        "import fuse\n"
        "from backlotfs import errors\n"
        "from . import plan\n"
        "from ..api.records import Asset\n"
        "if TYPE_CHECKING:\n    from backlotfs.cli import main\n"
        "def late():\n    import backlotfs.emulator\n"
    )
    assert imported_names(ast.parse(source), "backlotfs.open_files.reader", is_package=False) == (
        "backlotfs.api.records",
        "backlotfs.cli",
        "backlotfs.emulator",
        "backlotfs.errors",
        "backlotfs.open_files",
        "fuse",
    )


def test_a_cycle_is_seen() -> None:
    """Two modules that import each other are named."""
    loop = [Module("a", ("b",)), Module("b", ("a",)), Module("c", ("a",))]
    assert cycles(loop) == ["a → b → a", "b → a → b"]
