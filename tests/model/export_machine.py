# SPDX-License-Identifier: Apache-2.0
"""Exports and verifications of a library that changes, into a folder that somebody works against.

The model knows every version of every source by its time, and every digest that may be in a
manifest. Whatever is declared copied, compared or verified has to be whole, in place and inside
DEST when the command ends, or have been so when somebody changed it afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from backlotfs.errors import SettingsError
from backlotfs.export.destination import MANIFEST, TIMES, WORKSPACE, Destination, is_reserved
from backlotfs.export.exporter import Exporter, Outcome, State
from backlotfs.export.items import find_items
from backlotfs.export.manifest import format_line
from backlotfs.export.verifying import check_file, check_files, read_all_records
from tests.model.interference import Interference, Killed

_KEY = hashlib.sha256(b"a.mov").hexdigest()
FOLDERS = ("News", "News/today", "b")
LEAVES = (
    "a.mov", "b", "A.mov", "line\nbreak\\.mov", "\udcff.mov", f"{_KEY}.part", f"{_KEY}.checkpoint",
    f".backlotfs-{_KEY[:24]}.part", "MANIFEST.sha256.new", MANIFEST, "manifest.SHA256", WORKSPACE,
    TIMES, "journal", "manifest",
)  # fmt: skip  # a list
names = st.builds(
    lambda folder, leaf: f"{folder}/{leaf}" if folder else leaf,
    st.sampled_from(("", "", *FOLDERS)),
    st.sampled_from(("a.mov", "b", *LEAVES)),
)
contents = st.builds(lambda letter, size: letter * size, st.binary(min_size=1, max_size=2),
                     st.sampled_from((0, 1, 700, 5000)))  # fmt: skip  # one line
KINDS = ("file", "right", "link", "folder-link", "dangling", "pipe", "socket", "folder", "hard")
DEEDS = (
    "kill", "replace-source", "grow-source", "plant", "swap", "move-out", "spoil-copy",
    "write-to-workspace", "swap-in-workspace", "move-workspace", "manifest",
)  # fmt: skip  # a list
#: hypothesis likes small numbers, a generator that is seeded by them does not.
chances = st.integers(0, 2**32 - 1)

Deed = Callable[[], None]


class ExportMachine(RuleBasedStateMachine):
    """One library, one DEST, one folder outside that must stay as it is."""

    #: What was done how often, over all runs.
    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")  # a test of names and bytes, not of the disk
        self.root = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.library, self.copy, self.outside, self.elsewhere = (
            self.root / name for name in ("library", "copy", "outside", "elsewhere")
        )
        for folder in (self.library, self.copy, self.outside, self.elsewhere):
            folder.mkdir()
        for name in ("a.mov", "b", "journal"):
            (self.outside / name).write_bytes(b"theirs")
        self.outside_before = snapshot(self.outside)
        self.elsewhere_before = snapshot(self.elsewhere)
        self.clock = 1_000_000_000
        self.serial = 0
        #: name → time of the version in ns → its bytes
        self.versions: dict[str, dict[int, bytes]] = {}
        #: (name, digest) of manifests that somebody else made
        self.planted_lines: set[tuple[str, str]] = set()
        #: name → what was whole under it when somebody did something in the last command
        self.was_right: set[str] = set()
        self.did: str | None = None
        for name in ("a.mov", "News/a.mov", "News/today/a.mov", "b/b"):
            (self.library / name).parent.mkdir(exist_ok=True)
            self._write_source(name, name.encode() * 300)

    def teardown(self) -> None:
        """Once what is in the way is removed, everything can be exported and verified."""
        try:
            self._clear_up()
            self._all_can_be_had()
        finally:
            shutil.rmtree(self.root)

    @rule(name=names, data=contents)
    def add_source(self, name: str, data: bytes) -> None:
        """Add a file to the library, or replace one, unless a folder has the name."""
        path = self.library / name
        with contextlib.suppress(OSError):  # a file is where a folder should be, or the reverse
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_source(name, data)

    @rule(name=names, kind=st.sampled_from(KINDS))
    def plant(self, name: str, kind: str) -> None:
        """Put something into DEST."""
        self._plant(name, kind)

    @rule(folder=st.sampled_from((*FOLDERS, WORKSPACE)), kind=st.sampled_from(KINDS))
    def plant_for_a_folder(self, folder: str, kind: str) -> None:
        """Put something where a folder of the copy, or the workspace, is to be."""
        self._plant(folder, kind)

    @rule(name=names)
    def spoil(self, name: str) -> None:
        """Change a copy, with size and time as they were."""
        self._spoil(self.copy / name)

    @rule()
    def clear_up(self) -> None:
        """Do what the messages of an export ask for."""
        self._clear_up()

    @rule(overwrite=st.booleans(), checksum=st.booleans())
    def export(self, overwrite: bool, checksum: bool) -> None:
        """Export in peace."""
        self._export(Interference(-2, lambda: None), overwrite=overwrite, checksum=checksum)

    @rule(
        deed=st.sampled_from(DEEDS),
        chance=chances,
        overwrite=st.booleans(),
        checksum=st.booleans(),
    )
    def export_disturbed(self, deed: str, chance: int, overwrite: bool, checksum: bool) -> None:
        """Export while somebody does something at a certain moment; then once more in peace."""
        random = Random(chance)
        self._write_source(random.choice(sorted(self.versions)), b"new" * random.randrange(2000))
        happen = self._watched(deed, random)
        if random.random() < 0.5:  # when a file, or the manifest, gets its name
            interference = Interference(random.randrange(4), happen, of=("link", "rename"))
        else:
            number = random.randrange(120 + 20 * len(self.versions))
            interference = Interference(number, happen)
        self._export(interference, overwrite=overwrite, checksum=checksum)
        if interference.before:
            self.done[f"{deed} in export"] += 1
        self._export(Interference(-2, lambda: None), overwrite=overwrite, checksum=checksum)

    @rule(chance=chances)
    def verify_disturbed(self, chance: int) -> None:
        """Verify while somebody does something at a certain moment."""
        random = Random(chance)
        deed = random.choice(DEEDS)
        number = random.randrange(20 + 20 * len(self.versions))
        interference = Interference(number, self._watched(deed, random))
        self._verify(interference)
        if interference.before:
            self.done[f"{deed} in verify"] += 1

    # What somebody does

    def _watched(self, deed: str, random: Random) -> Deed:
        name, kind = random.choice(sorted(self.versions)), random.choice(KINDS)

        def act() -> None:
            self.did = deed
            self.was_right = {name for name in self.versions if self._is_right(name)}
            self._do(deed, name, kind)

        return act

    def _do(self, deed: str, name: str, kind: str) -> None:
        if deed == "kill":
            raise Killed
        if deed == "replace-source":
            self._write_source(name, b"replaced")
        elif deed == "grow-source":
            self._write_source(name, (self.library / name).read_bytes() + b"more", in_place=True)
        elif deed == "plant":
            self._plant(name, kind)
        elif deed == "swap":
            self._swap(self.copy / FOLDERS[len(name) % 3], self.copy / self._aside_name())
        elif deed == "move-out":
            self._swap(self.copy / FOLDERS[len(name) % 3], self.elsewhere / self._aside_name())
        elif deed == "spoil-copy":
            self._spoil(self.copy / name)
        elif deed == "move-workspace":
            self._swap(self.copy / WORKSPACE, self.elsewhere / self._aside_name())
        elif deed == "manifest":
            self._plant_manifest(name)
        else:
            for path in self._in_workspace():
                if deed == "swap-in-workspace":
                    path.unlink()
                with path.open("ab") as file:
                    file.write(b"evil")

    def _in_workspace(self) -> list[Path]:
        """The files of data in it; a journal or checkpoint that is ours is believed."""
        if (self.copy / WORKSPACE).is_symlink():
            return []
        return [path for path in (self.copy / WORKSPACE).glob("*.part") if path.is_file()]

    def _swap(self, folder: Path, aside: Path) -> None:
        """Move a folder away, and put a link to one outside in its place."""
        if folder.is_dir() and not folder.is_symlink() and not self._is_reached_by_link(folder):
            folder.rename(aside)
            folder.symlink_to(self.outside)
        self.elsewhere_before = snapshot(self.elsewhere)

    def _plant(self, name: str, kind: str) -> None:
        path = self.copy / name
        if self._is_reached_by_link(path):
            return
        with contextlib.suppress(OSError):  # something else is there
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) and not (path.is_dir() and not path.is_symlink()):
                path.unlink()
            if kind == "file":
                path.write_bytes(b"mine")
            elif kind == "right":
                path.write_bytes(read_plainly(self.library / name) or b"right")
            elif kind in ("link", "dangling"):
                path.symlink_to(self.outside / ("a.mov" if kind == "link" else "none"))
            elif kind == "folder-link":
                path.symlink_to(self.outside)
            elif kind in ("pipe", "socket"):
                os.mknod(path, (stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK) | 0o600)
            elif kind == "folder":
                path.mkdir()
            else:
                os.link(self.outside / "a.mov", path)

    def _plant_manifest(self, name: str) -> None:
        digest = hashlib.sha256(b"mine").hexdigest()
        self.planted_lines.add((name, digest))
        path = self.copy / MANIFEST
        if path.is_file() or not path.exists():
            path.unlink(missing_ok=True)
            path.write_bytes(format_line(name, digest))

    def _spoil(self, path: Path) -> None:
        if self._is_reached_by_link(path) or path.is_symlink() or not path.is_file():
            return
        if path.name in (MANIFEST, "journal") or path.stat().st_nlink > 1:
            return
        status = path.stat()
        path.write_bytes(b"X" * status.st_size)
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _is_reached_by_link(self, path: Path) -> bool:
        return any(above.is_symlink() for above in path.parents if above != self.copy.parent)

    def _aside_name(self) -> str:
        self.serial += 1
        return f"aside-{self.serial}"

    def _write_source(self, name: str, data: bytes, *, in_place: bool = False) -> None:
        path = self.library / name
        if not in_place:
            path.unlink(missing_ok=True)
        path.write_bytes(data)
        self.clock += 1_000_000_000
        os.utime(path, ns=(self.clock, self.clock))
        self.versions.setdefault(name, {})[self.clock] = data

    def _clear_up(self) -> None:
        for path in sorted(self.copy.rglob("*"), reverse=True):
            name = str(path.relative_to(self.copy))
            mode = path.lstat().st_mode
            is_in_the_way = stat.S_ISDIR(mode) and (self.library / name).is_file()
            if name == WORKSPACE and stat.S_ISDIR(mode) and stat.S_IMODE(mode) == 0o700:
                continue
            if name in (WORKSPACE, MANIFEST, TIMES) and stat.S_ISDIR(mode):
                shutil.rmtree(path)
            elif stat.S_ISREG(mode):
                if name == WORKSPACE or (self.library / name).is_dir():
                    path.unlink()
            elif not stat.S_ISDIR(mode):
                path.unlink()
            elif is_in_the_way:
                shutil.rmtree(path)
        try:
            with Destination.open(self.copy) as destination:
                read_all_records(destination)
        except SettingsError:
            (self.copy / MANIFEST).unlink()

    # What is done, and looked at

    def _export(
        self, interference: Interference, *, overwrite: bool, checksum: bool
    ) -> list[Outcome] | None:
        """None: it was killed, or refused to begin."""
        self.was_right, self.did = set(), None
        foreign = {} if overwrite else self._foreign()
        outcomes = None
        items, _ = find_items([f"{self.library}/"], lambda _seconds: None)
        with (
            contextlib.suppress(Killed, SettingsError),
            interference.active(),
            Destination.open(self.copy) as destination,
            destination.claim() as workspace,
        ):
            exporter = Exporter(
                destination,
                workspace,
                jobs=1,
                overwrite=overwrite,
                checksum=checksum,
                moved=lambda _count: None,
                finished=lambda _outcome: None,
            )
            outcomes = exporter.run(items)
        self.done["export"] += 1
        self._check_outside()
        self._check_manifest()
        if self.did is None:
            assert {name: read_plainly(self.copy / name) for name in foreign} == foreign
        for outcome in outcomes or ():
            self._check(outcome)
        return outcomes

    def _verify(self, interference: Interference) -> dict[str, str] | None:
        """The reason of each problem; None: it was refused, or killed."""
        self.was_right, self.did = set(), None
        found: dict[str, str] = {}
        wrong: dict[str, str] = {}
        try:
            with interference.active(), Destination.open(self.copy) as destination:
                entries = read_all_records(destination)[0].digests
                before = {name for name, digest in entries.items() if self._has(name, digest)}
                check = partial(check_file, destination)
                for name, problem in check_files(
                    check, entries, {}, jobs=1, moved=lambda _count: None
                ):
                    if problem is None:
                        found[name] = entries[name]
                    else:
                        wrong[name] = problem.reason
        except (Killed, SettingsError):
            return None
        self.done["verify"] += 1
        for name, digest in found.items():
            assert self._has(name, digest) or (self.did and name in before), name
        return wrong

    def _check(self, outcome: Outcome) -> None:
        name, place = outcome.name, self.copy / outcome.name
        self.done[outcome.state.value] += 1
        if is_reserved(name):
            assert outcome.state is State.FAILED
            return
        if outcome.state not in (State.COPIED, State.VERIFIED):
            assert outcome.sha256 is None
            return
        if name in self.was_right:
            return
        assert self._is_right(name), f"{name} is {outcome.state}, but {self.did}"
        data = place.read_bytes()
        assert outcome.sha256 == hashlib.sha256(data).hexdigest()
        assert data == self.versions[name][place.stat().st_mtime_ns]

    def _is_right(self, name: str) -> bool:
        """Whether DEST has a version of the source, whole and in place."""
        path = self.copy / name
        if self._is_reached_by_link(path):
            return False
        with contextlib.suppress(OSError):
            status = path.lstat()
            version = self.versions[name].get(status.st_mtime_ns)
            return stat.S_ISREG(status.st_mode) and path.read_bytes() == version
        return False

    def _has(self, name: str, digest: str) -> bool:
        path = self.copy / name
        if self._is_reached_by_link(path) or path.is_symlink() or not path.is_file():
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def _foreign(self) -> dict[str, bytes | None]:
        """What an export without --overwrite has to leave as it is."""
        try:
            with Destination.open(self.copy) as destination:
                entries = read_all_records(destination)[0].digests
        except SettingsError:
            entries = {}
        return {
            name: read_plainly(self.copy / name)
            for name in self.versions
            if name not in entries and os.path.lexists(self.copy / name) and not is_reserved(name)
        }

    def _check_outside(self) -> None:
        """Nothing came into the folder that links lead to, nor where a folder was moved."""
        assert snapshot(self.outside) == self.outside_before
        if self.did == "move-out":
            assert snapshot(self.elsewhere).items() <= self.elsewhere_before.items()

    def _check_manifest(self) -> None:
        """No digest that nobody computed."""
        path = self.copy / MANIFEST
        if path.is_symlink() or not path.is_file():
            return
        with contextlib.suppress(SettingsError), Destination.open(self.copy) as destination:
            for name, digest in read_all_records(destination)[0].digests.items():
                versions = self.versions.get(name, {}).values()
                known = {hashlib.sha256(version).hexdigest() for version in versions}
                assert digest in known or (name, digest) in self.planted_lines, name

    def _all_can_be_had(self) -> None:
        quiet = Interference(-2, lambda: None)
        (self.copy / MANIFEST).unlink(missing_ok=True) if self.planted_lines else None
        outcomes = self._export(quiet, overwrite=True, checksum=True)
        assert outcomes is not None
        failed = {o.name: o.reason for o in outcomes if o.state is State.FAILED}
        assert {name for name in failed if not is_reserved(name)} == set(), failed
        assert {o.state for o in outcomes} <= {State.COPIED, State.VERIFIED, State.FAILED}
        left = list((self.copy / WORKSPACE).glob("*"))
        assert {path.suffix for path in left} <= {".part", ".checkpoint"}, left
        wrong = self._verify(quiet)
        assert not {name for name in wrong or {} if name in self.versions}, wrong


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder, and the bytes of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def read_plainly(path: Path) -> bytes | None:
    """The bytes of a file; None of anything else."""
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None
