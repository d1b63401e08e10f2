# SPDX-License-Identifier: Apache-2.0
"""What the program's source says of its own outside: exit codes, errno, variables, attributes.

Read from the source, not from a list, so that a new one is seen by the tests of the manual.
"""

from __future__ import annotations

import ast
import errno
import importlib
import re
from collections.abc import Iterator

from backlotfs.errors import BacklotError
from tests.project.source_tree import PACKAGE, modules, parsed, source_files

_XATTR = re.compile(r"user\.[a-z_]+(\.[a-z_]+)*")
#: The daemon's; what tools of ours answer to themselves is no errno of the mount.
_ANSWERING = ("backlotfs/kernel", "backlotfs/namespace", "backlotfs/open_files")


def error_classes() -> set[type[BacklotError]]:
    """Every error, wherever it is defined."""
    for module in modules():
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[BacklotError]] = set()
    waiting = [BacklotError]
    while waiting:
        error = waiting.pop()
        found.add(error)
        waiting += error.__subclasses__()
    return {error for error in found if error.__module__.startswith("backlotfs.")}


def errnos() -> set[str]:
    """Names of those of the errors, and of those that ``os_error`` is called with."""
    called = {
        node.args[0].attr
        for node in _nodes(*_ANSWERING)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "os_error"
        and isinstance(node.args[0], ast.Attribute)
    }
    return called | {errno.errorcode[error.errno] for error in error_classes()}


def exit_codes() -> set[int]:
    """Those of the errors, and those that ``sys.exit`` is called with."""
    called = {
        node.args[0].value
        for node in _nodes("backlotfs/cli")
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "exit"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, int)
    }
    return {0} | called | {error.exit_code for error in error_classes()}


def variables() -> set[str]:
    """Of the environment of commands and mounts: ``environ.get("NAME")``, ``environ["NAME"]``."""
    found: set[str] = set()
    for node in _nodes(*(str(path) for path in PACKAGE.iterdir() if path.name != "manual")):
        key: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr == "get" and _is_environment(node.func.value):
                key = node.args[0]
        elif isinstance(node, ast.Subscript) and _is_environment(node.value):
            key = node.slice
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.add(key.value)
    return found


def extended_attributes() -> set[str]:
    """``user.…`` in any string of the daemon."""
    return {
        node.value
        for node in _nodes(*_ANSWERING)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _XATTR.fullmatch(node.value)
    }


def _is_environment(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name == "environ"


def _nodes(*folders: str) -> Iterator[ast.AST]:
    files = [*source_files(*folders), *(PACKAGE / f for f in folders if f.endswith(".py"))]
    for path in files:
        yield from ast.walk(parsed(path))
