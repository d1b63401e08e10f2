# SPDX-License-Identifier: Apache-2.0
"""What ``--json`` prints has the keys that the manual says, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backlotfs.cli import commands as program
from backlotfs.emulator import Emulator, Library
from backlotfs.manual.commands import all_commands
from backlotfs.manual.pages import items, section
from tests.support import commands
from tests.support.commands import ROOT
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

WHERE = "backlotfs/manual/texts/json.md"
REEL = video("reel.mov", MIB + 1)
#: Objects whose keys are values.
_BY_NAME = frozenset({"processes"})

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``run("status", …)``: the first JSON object that the command prints about a mount."""
    folder = tmp_path_factory.mktemp("shapes")
    with Emulator(Library([REEL])) as emulator:
        cache = f"--cache-dir={folder / 'cache'}"
        with Mount(emulator, folder, "--cache-size=64M", cache) as mount:
            (mount / "reel.mov").read_bytes()
            yield lambda *words: _first_object(words, folder)


def _first_object(words: tuple[str, ...], folder: Path) -> Any:
    places = {"LIBRARY": str(folder / "library"), "DEST": str(folder / "copy")}
    account = ["--config", str(folder / "config.toml"), "--profile", commands.PROFILE]
    arguments = [places.get(word, word) for word in words]
    if words[0] in ("doctor", "ls", "info"):
        arguments += account
    done = CliRunner().invoke(program, [*arguments, "--json"], standalone_mode=False)
    assert done.exception is None, f"{words}: {done.exception!r}"
    found, _ = json.JSONDecoder().raw_decode(done.stdout)
    return found


def shape(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every key with its value, as the manual writes keys."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            shown = "NAME" if name in _BY_NAME else key
            yield from shape(inner, f"{name}.{shown}" if name else shown)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from shape(inner, f"{name}[]")
    else:
        yield name, value


@pytest.mark.parametrize(
    "words",
    [
        ("status", "LIBRARY"),
        ("stats", "LIBRARY"),
        ("doctor",),
        ("ls",),
        ("info", "reel.mov"),
        ("warm", "LIBRARY"),
        ("pin", "LIBRARY"),
        ("pins", "LIBRARY"),
        ("unpin", "LIBRARY"),
        ("export", "LIBRARY", "DEST"),
        ("verify", "DEST"),
    ],
    ids=lambda words: words[0],
)
def test_keys(run: Run, words: tuple[str, ...]) -> None:
    """What is empty this time has none to compare."""
    documented = items(section("json.md", f"backlotfs {words[0]} --json"))
    printed = dict(shape(run(*words)))
    empty = tuple(name for name, value in printed.items() if value in (None, [], {}))
    new = {name for name in printed if name not in documented and name not in empty}
    assert not new, f"{words[0]} --json: say what {sorted(new)} mean, in {WHERE}"
    gone = {name for name in documented if name not in printed and not name.startswith(empty)}
    assert not gone, f"{words[0]} --json has no {sorted(gone)}: take them out of {WHERE}"


def test_every_command_with_json_is_there() -> None:
    """A new one says what it prints, and no command is described that is gone."""
    with_json = {
        command.name
        for command in all_commands()
        if any("--json" in option.names for option in command.options.values())
    }
    described = set(re.findall(r"^## (.+) --json$", (ROOT / WHERE).read_text("utf-8"), re.M))
    assert with_json == described, f"say in {WHERE} what --json prints"
