"""The emulator stands alone, so that it can disagree with the client."""

from __future__ import annotations

import ast
from pathlib import Path

import backlotfs.emulator

PACKAGE = Path(backlotfs.emulator.__file__).parent


def test_imports_nothing_of_the_client() -> None:
    """No module of the emulator imports another package of backlotfs."""
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [node.module or ""]
            for name in names:
                foreign = name.startswith("backlotfs") and not name.startswith("backlotfs.emulator")
                assert not foreign, f"{path.name} imports {name}"


def test_public_names() -> None:
    """What tests and the command line build on does not vanish."""
    assert set(backlotfs.emulator.__all__) >= {
        "EmulatedAsset",
        "EmulatedLabel",
        "Emulator",
        "EmulatorSettings",
        "Fault",
        "FaultPlan",
        "Library",
        "RequestEntry",
        "RequestLog",
    }
