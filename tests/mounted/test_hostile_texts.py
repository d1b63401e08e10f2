# SPDX-License-Identifier: Apache-2.0
"""Texts of a library, a server and a process that a terminal would obey: no command passes one on.

Each field that somebody else fills holds the same sequences. Every command prints what it knows of
them, as text and as JSON, into a pipe and onto a terminal.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedLabel, Emulator, EmulatorSettings, Fault, Library
from backlotfs.manual.commands import all_commands
from tests.mounted.credits.named_program import ran
from tests.support import commands
from tests.support.long_runs import few_of
from tests.support.made_assets import KIB, video
from tests.support.mounting import Mount
from tests.support.watching_terminal import watching

pytestmark = pytest.mark.mounted

#: Sets the title, turns red, erases (C0 and C1), turns the direction; each ends what it began.
OBEYED = (
    "\x1b]0;owned\x07",
    "\x1b[5;35m",
    "\x9b31m",
    "\x9d0;owned\x9c",
    "\x7f",
    "\u202e",
    "\x08\r",
)
EVIL = "".join(OBEYED)
LABEL = EmulatedLabel("1" * 32, f"label{EVIL}")
FULL = video(
    f"reel{EVIL}.mov",
    300 * KIB,
    title=f"title{EVIL}",
    status=f"live{EVIL}",
    description=f"said{EVIL}\nand more",
    external_id=f"id{EVIL}",
    metadata={f"key{EVIL}": f"value{EVIL}"},
    label_ids=(LABEL.label_id,),
    preview_image=b"no image",
)
BY_TITLE = video(None, 2 * KIB, title=f"untitled{EVIL}", label_ids=(LABEL.label_id,))
BROKEN = video(f"broken{EVIL}.mov", 2 * KIB, label_ids=(LABEL.label_id,))
UNSIZED = video(f"unsized{EVIL}.mov", 2 * KIB, label_ids=(LABEL.label_id,))
ASSETS = [FULL, BY_TITLE, BROKEN, UNSIZED]

#: Commands that print nothing of a library, a server or a process.
OF_NOBODY_ELSE = {
    "completion", "demo", "config init", "config list", "config show", "config remove",
    "cache list", "cache clear", "catalog export", "catalog import",
}  # fmt: skip
COPIES, MEDIA = "copies", "media"
#: These tell of numbers, or that all is well, alone.
WITHOUT_TEXTS = ("refresh", "unpin", "pin FILE", "doctor", "mount", "umount")
#: Every other command. LIBRARY is the mount, FOLDER and FILE are in it; ACCOUNT is its account.
LINES = [
    "status LIBRARY", "status --json LIBRARY", "stats LIBRARY", "stats --json LIBRARY",
    "refresh --full LIBRARY", "warm FOLDER", "warm --json FOLDER", "pin FILE", "pin --json FILE",
    "pins LIBRARY", "pins --json LIBRARY", "unpin FILE", "unpin --json FILE",
    "thumbnails FOLDER", "thumbnails --json FOLDER", "export FOLDER COPIES",
    "export --json FOLDER COPIES", "export --dry-run FOLDER COPIES", "verify COPIES",
    "verify --json COPIES", "verify --source FOLDER COPIES", "ls ACCOUNT", "ls --json ACCOUNT",
    "info ACCOUNT CODE", "info --json ACCOUNT CODE", "info ACCOUNT NAME", "doctor ACCOUNT LIBRARY",
    "doctor --json ACCOUNT LIBRARY", "mount ACCOUNT LIBRARY", "umount LIBRARY",
    "emulator --media MEDIA --port 0 --config-out OUT",
]  # fmt: skip
#: What `make test` takes of them: each kind of text, in text and in JSON.
FEW = (
    "status LIBRARY", "warm --json FOLDER", "pin FILE", "pins LIBRARY", "export FOLDER COPIES",
    "verify --json COPIES", "ls ACCOUNT", "info --json ACCOUNT CODE", "mount ACCOUNT LIBRARY",
    "emulator --media MEDIA --port 0 --config-out OUT",
)  # fmt: skip


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """One that has met all of it, an error of the API and of a source among that."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / MEDIA).mkdir()
    (folder / COPIES).mkdir()
    (folder / COPIES / f"foreign{EVIL}").touch()
    (folder / MEDIA / f"file{EVIL}.mov").write_bytes(b"x")
    (folder / MEDIA / f"link{EVIL}.mov").symlink_to("/etc/passwd")
    options = ("--layout=labels", "--sidecars", "--cache-size=64M", f"--cache-dir={folder}/cache")
    library = Library(ASSETS, [LABEL])
    with (
        Emulator(library, EmulatorSettings(rate_limit=None, cdn=False)) as emulator,
        Mount(emulator, folder, *options) as mount,
    ):
        mount.expect_log(".")
        refusal = Fault.status(400, json.dumps({"message": f"no{EVIL}"}, ensure_ascii=False))
        emulator.faults.add(refusal, route="streams", embed_code=UNSIZED.embed_code)
        emulator.faults.add(refusal, route="source", embed_code=BROKEN.embed_code)
        ran(f"owned{OBEYED[2]}{OBEYED[5]}", mount, *(("open", path) for path in _files(mount)))
        commands.run(*_arguments("export FOLDER COPIES", mount), home=folder)
        yield mount


def _files(mount: Mount) -> list[Path]:
    return [Path(folder, name) for folder, _, names in os.walk(mount.path) for name in names]


def _arguments(line: str, mount: Mount) -> list[str]:
    (folder,) = [path for path in mount.path.iterdir() if path.name.startswith("label")]
    (reel,) = [path for path in folder.iterdir() if path.name.startswith("reel")][:1]
    places: dict[str, list[str | Path]] = {
        "LIBRARY": [mount.path], "FOLDER": [folder], "FILE": [reel], "NAME": [reel.name],
        "CODE": [FULL.embed_code], "COPIES": [mount.folder / COPIES],
        "MEDIA": [mount.folder / MEDIA], "OUT": [mount.folder / "emulator.toml"],
        "ACCOUNT": ["--config", mount.folder / "config.toml", "--profile", commands.PROFILE],
    }  # fmt: skip
    return [str(part) for word in line.split() for part in places.get(word, [word])]


def obeyed(printed: str) -> list[str]:
    """Which of the sequences a terminal would get."""
    return [word for word in OBEYED if word in printed]


def test_every_command_is_among_them() -> None:
    """A command that comes later is to be tried too."""
    tried = {line.split()[0] for line in LINES} | OF_NOBODY_ELSE
    assert tried == {" ".join(command.words[1:]) for command in all_commands()}


@pytest.mark.parametrize("line", few_of(LINES, *FEW))
def test_into_a_pipe(mount: Mount, line: str) -> None:
    """Text has no character that is not printable; JSON is ASCII."""
    done = _run_for_a_while(line, mount)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert [c for c in said if not c.isprintable() and c != "\n"] == []
    assert ("owned" in said) is not line.startswith(WITHOUT_TEXTS)
    if "--json" in line:
        assert done.stdout.isascii()
        assert done.stdout


def _run_for_a_while(line: str, mount: Mount) -> subprocess.CompletedProcess[str]:
    """Servers are ended once they have said what they have to say."""
    process = subprocess.Popen(
        commands.command(*_arguments(line, mount)),
        cwd=commands.ROOT,
        env=commands.environment(mount.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )
    first = ""
    with os.scandir(mount.path):  # held open: umount names who does that
        if line.startswith("emulator"):
            assert process.stdout is not None
            first = process.stdout.readline()
            process.terminate()
        out, err = process.communicate(timeout=80)
    return subprocess.CompletedProcess(line, process.returncode, first + out, err)


@pytest.mark.parametrize(
    "line",
    few_of(
        ["status LIBRARY", "warm FOLDER", "pin FILE", "export FOLDER COPIES", "verify COPIES",
         "thumbnails --again FOLDER", "ls ACCOUNT", "info ACCOUNT CODE"],
        "status LIBRARY", "export FOLDER COPIES",
    ),
)  # fmt: skip
def test_onto_a_terminal(mount: Mount, line: str) -> None:
    """Bars draw with sequences of their own; those of others are not among them."""
    assert obeyed(_on_terminal(_arguments(line, mount), mount.folder)) == []


def test_watched_on_a_terminal(mount: Mount) -> None:
    """A picture has the texts, and obeys none."""
    with watching(mount, size=(250, 60)) as terminal:
        terminal.wait_for("failed ")
        terminal.wait_for("owned")
    assert obeyed(terminal.written) == []


def _on_terminal(arguments: list[str], home: Path) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        commands.command(*arguments),
        cwd=commands.ROOT,
        env={**commands.environment(home), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65_536):
            shown += data
    except OSError:  # EIO: all of theirs are closed
        pass
    finally:
        os.close(ours)
        process.wait(80)
    assert shown
    return shown.decode("utf-8", "replace").replace("\r\n", "\n")
