# SPDX-License-Identifier: Apache-2.0
"""The state machine: what an application, a library's owner and time may do, in any order."""

from __future__ import annotations

import os
import sys
import traceback

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from backlotfs.emulator import Fault, FaultRule
from tests.model.live_mount import LiveMount
from tests.model.reference import ModelFile, ModelHandle
from tests.support.expected_bytes import len_of

KIB = 1024
#: Around the borders of pages (4 KiB), blocks (64 KiB) and the kernel's requests (128 KiB).
SIZES = st.sampled_from([0, 1, 4095, 4096, 65535, 65536, 65537, 200_000, 1_000_003, 2_621_440])
OFFSETS = st.one_of(
    st.sampled_from([0, 1, 4095, 65535, 65536, 131072, 999_999]), st.integers(0, 2_700_000)
)
LENGTHS = st.one_of(st.sampled_from([1, 4096, 65536, 131073, 400_000]), st.integers(1, 300_000))
SLOTS = st.integers(0, 3)
FILES = st.integers(0, 3)
#: Trouble that passes, and forms of right answers: one request each, which no application may
#: notice.
TROUBLE = st.sampled_from(
    [
        Fault.reset(1000),
        Fault.short_body(70_000),
        Fault.of("wrong_range"),
        Fault.of("whole_object"),
        Fault.of("slow_down"),
        Fault.of("missing_range"),
        Fault.other_length(4097),
        Fault.short_range(70_000),
        Fault.short_range(30_000),
        Fault.of("wide_range", step_bytes=200_000),
        Fault.of("unknown_total"),
        Fault.of("odd_range"),
        Fault.of("no_length"),
        Fault.of("empty_200"),
        Fault.of("empty_206"),
        Fault.content_encoding("aws-chunked"),
        Fault.of("early_hints"),
    ]
)


class _OpenFile:
    """A descriptor beside its model."""

    def __init__(self, descriptor: int, model: ModelHandle) -> None:
        self.descriptor = descriptor
        self.model = model


class MountMachine(RuleBasedStateMachine):
    """Each rule does one thing to the mount or the origin, and looks at what comes back.

    Files and open files are addressed by number, whatever is there now: what hypothesis draws never
    depends on what the mount answers, so a run can be had again from its seed.
    """

    def __init__(self, live: LiveMount) -> None:
        """``live`` outlives the run; its files do not."""
        super().__init__()
        self.live = live
        self.prefix = f"run {live.number()} "
        self.files: list[ModelFile] = []
        self.open_files: dict[int, _OpenFile] = {}
        self.nodes: dict[str, FaultRule] = {}  # by embed code

    @initialize(sizes=st.lists(SIZES, min_size=2, max_size=3))
    def begin(self, sizes: list[int]) -> None:
        """A few files that the mount knows."""
        for size in sizes:
            self.upload(size)
        self.settle()

    # What an application does.

    @rule(slot=SLOTS, file=FILES)
    def reopen(self, slot: int, file: int) -> None:
        """Close what is open there, open a file."""
        self._close(slot)
        self._open(slot, self._file(file))

    @rule(slot=SLOTS, file=FILES, offset=OFFSETS, length=LENGTHS)
    def pread(self, slot: int, file: int, offset: int, length: int) -> None:
        """Read somewhere."""
        opened = self._at(slot, file)
        if opened is not None:
            self._pread(opened, offset, length)

    @rule(slot=SLOTS, file=FILES, offset=OFFSETS, step=LENGTHS, times=st.integers(2, 6))
    def seek_and_read_on(self, slot: int, file: int, offset: int, step: int, times: int) -> None:
        """lseek, then read after read, as a player does."""
        opened = self._at(slot, file)
        if opened is None:
            return
        os.lseek(opened.descriptor, offset, os.SEEK_SET)
        for _ in range(times):
            self._count("read")
            try:
                data = os.read(opened.descriptor, step)
            except OSError as error:
                opened.model.failed(error.errno or 0)
                return
            opened.model.saw(offset, step, data)
            offset += len(data)

    @rule(slot=SLOTS, file=FILES, lengths=st.lists(LENGTHS, min_size=2, max_size=5))
    def read_backwards(self, slot: int, file: int, lengths: list[int]) -> None:
        """From the end towards the head, as something that looks for an index does."""
        opened = self._at(slot, file)
        if opened is None:
            return
        offset = len_of(opened.model.file.versions[-1])
        for length in lengths:
            offset = max(0, offset - length)
            self._pread(opened, offset, length)

    @rule(slot=SLOTS)
    def close(self, slot: int) -> None:
        """Close, if anything is open there."""
        self._close(slot)

    @rule(slot=SLOTS)
    def forget_pages(self, slot: int) -> None:
        """The kernel drops what it has cached of the file."""
        opened = self.open_files.get(slot)
        if opened is not None:
            self._count("fadvise")
            os.posix_fadvise(opened.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    @rule(file=FILES, offset=OFFSETS, length=LENGTHS)
    def map(self, file: int, offset: int, length: int) -> None:
        """A mapping of its own, where nobody has the file open in another version."""
        one = self._file(file)
        if not one.listed or one.opened != one.latest or self._is_open(one):
            return
        handle = ModelHandle(one)
        self._count("mmap")
        number, data, at_close = self.live.mapper.read(self.live.path / one.name, offset, length)
        assert number == 0, f"mmap of {one.name}: {os.strerror(number)}"
        handle.saw(offset, length, data)
        handle.closed(at_close)

    @rule(file=FILES)
    def stat(self, file: int) -> None:
        """Size and time of one version, never an older one than before."""
        self._stat(self._file(file))

    @rule()
    def list(self) -> None:
        """Every settled file, no deleted one, nothing that never was."""
        self._count("list")
        names = {name for name in os.listdir(self.live.path) if name.startswith(self.prefix)}
        must = {file.name for file in self.files if file.listed}
        may = {file.name for file in self.files if file.listed is not False}
        assert must <= names <= may

    # What happens at the origin, and to the mount.

    @rule(file=FILES, size=SIZES, keep_old=st.booleans())
    def replace(self, file: int, size: int, keep_old: bool) -> None:
        """Another source for the same asset, in the place of the old object or beside it."""
        one = self._file(file)
        if not one.deleted:
            self._count("replace")
            library = self.live.emulator.library
            if one.embed_code in self.nodes:
                # what changed less than a minute ago is not believed to be one version
                self.live.emulator.faults.remove(self.nodes.pop(one.embed_code))
            one.replaced(library.replace(one.embed_code, size=size, keep_old=keep_old))

    @rule(size=SIZES)
    def upload(self, size: int) -> None:
        """A new asset, which the mount need not know yet."""
        if len(self.files) < 6:
            self._count("upload")
            number = len(self.files)
            one = ModelFile(self.live.upload(f"{self.prefix}file {number}.mov", size))
            self.files.append(one)
            if number % 2 == 0:  # its nodes have an ETag each
                nodes = Fault.nodes(by_connection=bool(number))
                faults = self.live.emulator.faults
                self.nodes[one.embed_code] = faults.add(
                    nodes, route="source", embed_code=one.embed_code
                )

    @rule(file=FILES)
    def delete(self, file: int) -> None:
        """An asset goes; one is kept."""
        one = self._file(file)
        if not one.deleted and sum(not file.deleted for file in self.files) > 1:
            self._count("delete")
            self.live.emulator.library.delete(one.embed_code)
            one.gone()

    @rule()
    def expire_urls(self) -> None:
        """Every signed URL is dead now."""
        self._count("expire")
        self.live.emulator.expire_urls()

    @rule(trouble=TROUBLE)
    def trouble(self, trouble: Fault) -> None:
        """The next request of a source goes wrong."""
        self._count("trouble")
        self.live.emulator.faults.add(trouble, route="source", times=1)

    @rule()
    def settle(self) -> None:
        """The mount learns of all that happened."""
        self._count("settle")
        self.live.settle(self.files)

    @rule(keep_blocks=st.booleans(), chance=st.integers(0, 11))
    def restart(self, keep_blocks: bool, chance: int) -> None:
        """Rarely: end the mount, start it again, perhaps without what it had on disk."""
        if chance:
            return
        self._count("restart")
        for slot in range(4):
            self._close(slot)
        self.live.restart(keep_blocks=keep_blocks)

    def teardown(self) -> None:
        """Close everything, which is looked at too; take the files away."""
        error = sys.exc_info()[1]
        if isinstance(error, (AssertionError, OSError)):
            self.live.failures.append(traceback.format_exc())
        self.live.emulator.faults.clear()
        try:
            for slot in range(4):
                self._close(slot)
        finally:
            for file in self.files:
                if not file.deleted:
                    self.live.emulator.library.delete(file.embed_code)

    def _count(self, operation: str) -> None:
        self.live.operations[operation] += 1

    def _file(self, number: int) -> ModelFile:
        return self.files[number % len(self.files)]

    def _is_open(self, file: ModelFile) -> bool:
        return any(one.model.file is file for one in self.open_files.values())

    def _at(self, slot: int, file: int) -> _OpenFile | None:
        """What is open there; a file is opened when nothing is."""
        if slot not in self.open_files:
            self._open(slot, self._file(file))
        return self.open_files.get(slot)

    def _open(self, slot: int, file: ModelFile) -> None:
        self._count("open")
        try:
            descriptor = os.open(self.live.path / file.name, os.O_RDONLY)
        except OSError as error:
            file.check_absent(error.errno or 0)
            return
        self.open_files[slot] = _OpenFile(descriptor, ModelHandle(file))

    def _close(self, slot: int) -> None:
        opened = self.open_files.pop(slot, None)
        if opened is None:
            return
        self._count("close")
        number = 0
        try:
            os.close(opened.descriptor)
        except OSError as error:
            number = error.errno or -1
        opened.model.closed(number)

    def _pread(self, opened: _OpenFile, offset: int, length: int) -> None:
        self._count("pread")
        try:
            data = os.pread(opened.descriptor, length, offset)
        except OSError as error:
            opened.model.failed(error.errno or 0)
            return
        opened.model.saw(offset, length, data)

    def _stat(self, file: ModelFile) -> None:
        self._count("stat")
        try:
            status = os.stat(self.live.path / file.name)
        except OSError as error:
            file.check_absent(error.errno or 0)
            return
        file.check_stat(status.st_size, int(status.st_mtime))
