# SPDX-License-Identifier: Apache-2.0
"""docs/messages.md explains every message: of errors, of `doctor`, of events, and every errno."""

from __future__ import annotations

import ast
import errno
import functools
import importlib
import inspect
import logging
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import backlotfs
from backlotfs import errors
from backlotfs.api import transport
from backlotfs.errors import BacklotError, ProtocolViolation, RemoteUnavailable
from backlotfs.log.events import EVENTS
from tests.project.source_tree import PACKAGE, parsed, source_files

PAGE = (PACKAGE.parent / "docs" / "messages.md").read_text("utf-8")
#: A program sees the errno of these, and no sentence.
ERRNO_ONLY = {
    "NoSuchEntry", "NotADirectory", "IsADirectory", "BadHandle", "ReadOnlyFilesystem",
    "NotSupported", "NoAttribute", "SizeUnknown", "Interrupted", "FastFail", "CommandFailed",
}  # fmt: skip  # a list
#: Messages that never reach a user: the mount or the command treats them itself.
INTERNAL = {"CatalogClosed", "EmptyListingDoubted", "FullSyncLost", "FullSyncTaken", "StaleNode"}
#: No subclasses of `BacklotError`, but with messages for users.
OTHERS = {"UntrustedPath", "Problem"}


def rows(heading: str | None = None) -> dict[str, str]:
    """The text of the first cell of each row, to the rest of the row; below one heading or all."""
    text = PAGE
    if heading is not None:
        text = re.split(r"^## ", PAGE.split(f"\n## {heading}\n")[1], maxsplit=1, flags=re.M)[0]
    found = re.findall(r"^\| (`[^|]+) \| (.+) \|$", text, re.M)
    return dict(found)


@functools.cache
def keys(heading: str | None = None) -> list[str]:
    """The code spans of the first cells."""
    return [span for cell in rows(heading) for span in re.findall(r"`([^`]+)`", cell)]


@functools.cache
def classes() -> dict[str, type]:
    """Every error class of the package, by name."""
    for module in pkgutil.walk_packages(backlotfs.__path__, "backlotfs."):
        if not module.name.startswith(("backlotfs.emulator", "backlotfs.demo", "backlotfs.__")):
            importlib.import_module(module.name)
    found: dict[str, type] = {"BacklotError": BacklotError}
    waiting: list[type[BacklotError]] = [BacklotError]
    while waiting:
        below = waiting.pop().__subclasses__()
        found |= {each.__name__: each for each in below}
        waiting += below
    return found


def pattern_of(node: ast.expr, constants: dict[str, str]) -> str:
    """The text that an expression makes, with ``…`` for what is not known before it runs."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.Name):
        return constants.get(node.id, "…")
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern_of(value, constants) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return pattern_of(node.value, constants) if isinstance(node.value, ast.Name) else "…"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return pattern_of(node.left, constants) + pattern_of(node.right, constants)
    return "…"


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The texts that a module gives names."""
    return {
        statement.targets[0].id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    }


def trees() -> dict[Path, ast.Module]:
    """The modules whose messages the page explains."""
    return {
        path: parsed(path)
        for path in source_files("backlotfs")
        if path.relative_to(PACKAGE).parts[0] not in ("emulator", "demo", "manual")
    }


def messages() -> Iterator[tuple[str, str, str]]:
    """Class, pattern and place of each message that is written out where its error is made."""
    told = (classes().keys() | OTHERS) - ERRNO_ONLY - INTERNAL
    for path, tree in trees().items():
        constants = constants_of(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in told:
                for argument in node.args:
                    pattern = pattern_of(argument, constants)
                    if re.search(r"[a-z]{2,} [a-z]{2,}", pattern):
                        place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                        yield node.func.id, pattern, place


def is_explained(pattern: str) -> bool:
    """Whether a row begins with a part of it."""
    return any(key in pattern for key in keys() if len(key) > 3)


def by_class(name: str) -> bool:
    """Whether the page explains only some messages of a class: answers are wrong in many ways."""
    found = classes().get(name)
    return found is not None and issubclass(found, RemoteUnavailable | ProtocolViolation)


def test_every_message_is_explained() -> None:
    """What a command says, and what the log gives as a reason: add a row for a new message."""
    missing = [
        f"{place}: {name}: {pattern}"
        for name, pattern, place in messages()
        if not by_class(name) and not is_explained(pattern)
    ]
    assert missing == [], "add rows to docs/messages.md that begin with a part of each"


def test_every_failure_of_a_connection_is_explained() -> None:
    """Those that everybody meets: each in our words for it, at the API and at a source host."""
    words = [words for *_, words in transport._FAILURES]
    (function,) = (
        node
        for node in trees()[PACKAGE / "http" / "pool.py"].body
        if isinstance(node, ast.FunctionDef) and node.name == "_words"
    )
    assigned = [node.value for node in ast.walk(function) if isinstance(node, ast.Assign)]
    words += [text for text in (pattern_of(value, {}) for value in assigned) if " " in text]
    assert len(words) > 15
    assert [text for text in words if not is_explained(text)] == []


def test_every_class_of_answers_is_explained() -> None:
    """Of those whose messages are not all there: at least some."""
    patterns: dict[str, list[str]] = {}
    for name, pattern, _ in messages():
        if by_class(name):
            patterns.setdefault(name, []).append(pattern)
    assert patterns.keys() >= {"ProtocolViolation", "InvalidRangeResponse", "HostUnreachable"}
    assert [name for name, those in patterns.items() if not any(map(is_explained, those))] == []


def test_the_page_explains_nothing_else() -> None:
    """A message that was removed or changed leaves the page too."""
    texts: set[str] = set()
    for tree in trees().values():
        constants = constants_of(tree)
        kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
        texts |= {pattern_of(node, constants) for node in ast.walk(tree) if isinstance(node, kinds)}
    known = {*errno.errorcode.values(), *EVENTS, *checks()}
    everything = "\n".join(texts)
    assert [key for key in keys() if key not in known and key not in everything] == []


def test_every_errno_is_explained() -> None:
    """That an error of backlotfs gives to a program."""
    given = {
        errno.errorcode[found.errno]
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, BacklotError)
    }
    assert given <= set(keys("A program shows an error on a file of the mount"))


def checks() -> set[str]:
    """The names of the checks of `doctor`."""
    return {
        str(node.args[0].value)
        for path in (PACKAGE / "doctor.py", PACKAGE / "cli" / "doctor.py")
        for node in ast.walk(trees()[path])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("fine", "note", "failed", "failed_by")
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_check_of_doctor_is_explained() -> None:
    """Each has its row."""
    assert set(keys("Findings of doctor")) == checks()


def test_every_warning_is_explained() -> None:
    """Each event of level warning and above has its row; docs/logs.md has all events."""
    loud = {event.name for event in EVENTS.values() if event.level >= logging.WARNING}
    explained = set(keys("Warnings and errors in the log"))
    assert loud <= explained <= EVENTS.keys()


def test_every_row_says_what_to_do() -> None:
    """The last cell is never empty."""
    assert [cell for cell, rest in rows().items() if not rest.rpartition("|")[2].strip()] == []
