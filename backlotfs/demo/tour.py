# SPDX-License-Identifier: Apache-2.0
"""The steps of the tour: most are a command that a user would type, and a check of its result."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backlotfs.config.settings import MIB
from backlotfs.demo.sample_library import MASTER_NAME, SampleLibrary
from backlotfs.demo.terminal import BACKLOTFS, Interruption, Narrator, megabytes, rate, run
from backlotfs.emulator import Emulator
from backlotfs.log.terminal import counted

_PIECE_BYTES = 4 * MIB
_PIECE_S = 0.2  # 21 MB/s, about the rate at which a player reads a mezzanine file
_TAIL_BYTES = MIB
_LIFETIMES_READ_THROUGH = 4
# A mount that has fetched far ahead needs the next URL later, so the reading may last longer.
_MOST_LIFETIMES_READ_THROUGH = 12
_LEAST_RENEWALS = 2
_EMBED_CODE_ATTRIBUTE = "user.backlot.embed_code"
# The two routes that give a signed URL.
_URL_ROUTES = ("streams", "source_file_info")


class CheckFailed(Exception):
    """A check of the demo failed; the message says what differed."""


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    :raises OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(pairs: Iterable[tuple[Path, Path]]) -> tuple[int, int]:
    """Compare each (copy, original). Return the number of files, and their bytes.

    :raises CheckFailed: copies differ or are missing; the message names each of them.
    """
    files = size_bytes = 0
    differences: list[str] = []
    for copy, original in pairs:
        expected_bytes = original.stat().st_size
        if not copy.is_file():
            differences.append(f"{copy.name}: was not copied")
        elif copy.stat().st_size != expected_bytes:
            differences.append(
                f"{copy.name}: {copy.stat().st_size} bytes, the original has {expected_bytes}"
            )
        elif digest(copy) != digest(original):
            differences.append(f"{copy.name}: same size, but not the bytes of {original}")
        else:
            files += 1
            size_bytes += expected_bytes
    if differences:
        raise CheckFailed("\n".join(differences))
    return files, size_bytes


@dataclass(frozen=True, slots=True)
class Tour:
    """Shows and checks a mounted sample library. Main thread only.

    :ivar mountpoint: where the library is mounted.
    :ivar copies: an empty folder for what is copied out of it.
    :ivar sample: the library that is served.
    :ivar emulator: its server, whose request log has all requests of the mount.
    :ivar url_lifetime_s: the lifetime of its signed URLs.
    """

    mountpoint: Path
    copies: Path
    sample: SampleLibrary
    emulator: Emulator
    url_lifetime_s: float
    narrator: Narrator
    interruption: Interruption

    def walk(self) -> None:
        """Take all steps, in order.

        :raises CheckFailed: a check failed.
        :raises Stopped: on a signal.
        """
        paths = self.listing()
        self.copy_of_one_file(paths)
        self.media_probe(paths)
        self.metadata(paths)
        self.read_through_expiry(paths)
        self.copy_of_the_tree(paths)
        self.verified_copy(paths)
        self.status()
        self.account()

    def listing(self) -> dict[str, Path]:
        """``ls -l``. Check that every asset is there with its size; return paths by embed code."""
        self.narrator.step("The library as a folder")
        started_s = time.monotonic()
        self._run(["ls", "-l", self.mountpoint], show_output=True)
        elapsed_s = time.monotonic() - started_s
        paths: dict[str, Path] = {}
        # not scandir: unlike os.listdir and os.stat, its stat does not release the interpreter lock
        for name in os.listdir(self.mountpoint):
            path = self.mountpoint / name
            paths[os.getxattr(path, _EMBED_CODE_ATTRIBUTE).decode()] = path
        assets = {asset.embed_code: asset for asset in self.sample.library.ordered()}
        if set(paths) != set(assets):
            raise CheckFailed(f"{len(assets)} assets are served, {len(paths)} are listed")
        for embed_code, path in paths.items():
            content = assets[embed_code].content
            if content is not None and path.stat().st_size != content.size:
                raise CheckFailed(f"{path}: {path.stat().st_size} bytes instead of {content.size}")
        self.narrator.say(
            f"{len(paths)} files in {elapsed_s:.2f} s, every size the true one.\n"
            "The names are those of the uploads, as far as a file system can hold them:\n"
            "/ and line feeds are replaced, long names cut, and of two equal names one gets an id."
        )
        return paths

    def copy_of_one_file(self, paths: dict[str, Path]) -> None:
        """``cp`` of the large film."""
        self.narrator.step("One file, with cp")
        original = self.sample.files[self.sample.master]
        copy = self.copies / MASTER_NAME
        started_s = time.monotonic()
        self._run(["cp", paths[self.sample.master], copy])
        elapsed_s = time.monotonic() - started_s
        verify([(copy, original)])
        self.narrator.say(f"{rate(original.stat().st_size, elapsed_s)}; SHA-256 equal.")

    def media_probe(self, paths: dict[str, Path]) -> None:
        """``ffprobe`` of a film: a seek to its index and back, not a download."""
        if shutil.which("ffprobe") is None:
            return
        self.narrator.step("A look into a film, with ffprobe")
        started_s = time.monotonic()
        path = paths[self.sample.first_film]
        fields = "format=format_name,duration:stream=codec_name"
        options = ["-v", "error", "-of", "default=nw=1", "-show_entries", fields]
        self._run(["ffprobe", *options, str(path)], show_output=True)
        self.narrator.say(f"Answered in {time.monotonic() - started_s:.2f} s.")

    def read_through_expiry(self, paths: dict[str, Path]) -> None:
        """Read the end of the largest file, then its beginning as slowly as a player does.

        This takes several lifetimes of a signed URL.
        """
        content = self.sample.endless_content
        path = paths[self.sample.endless]
        self.narrator.step(f"{megabytes(content.size)} that no disk holds, and URLs that die")
        quoted = shlex.quote(str(path))
        line = f"tail -c {_TAIL_BYTES} {quoted} | sha256sum"
        self.narrator.typed(line)
        started_s = time.monotonic()
        output = self._run(["sh", "-c", line], show_command=False)
        elapsed_s = time.monotonic() - started_s
        tail = content.read(content.size - _TAIL_BYTES, _TAIL_BYTES)
        if output.split()[:1] != [hashlib.sha256(tail).hexdigest()]:
            raise CheckFailed(f"the last {_TAIL_BYTES} bytes of {path} are not those served")
        self.narrator.say(f"Its last mebibyte in {elapsed_s:.2f} s; SHA-256 equal.")

        read_s = _LIFETIMES_READ_THROUGH * self.url_lifetime_s
        speed = round(_PIECE_BYTES / _PIECE_S)
        self.narrator.say(
            f"Now its beginning for at least {read_s:g} s, as fast as a player reads it "
            f"({speed / 1e6:.0f} MB/s). Each byte is compared.\n"
            "A URL is renewed when bytes are fetched, which is before they are read."
        )
        refreshes = self._urls_given(self.sample.endless)
        started_s = time.monotonic()
        pieces, longest_s = self._read_paced(path, refreshes)
        elapsed_s = time.monotonic() - started_s
        refreshes = self._urls_given(self.sample.endless) - refreshes
        if refreshes < _LEAST_RENEWALS:
            raise CheckFailed(f"{elapsed_s:.1f} s of reading asked for {refreshes} new URLs")
        self.narrator.say(
            f"{rate(pieces * _PIECE_BYTES, elapsed_s)}, every byte equal. A signed URL lives "
            f"{self.url_lifetime_s:g} s here:\nthe mount got a new one "
            f"{counted(refreshes, 'time')}; the longest wait for "
            f"{megabytes(_PIECE_BYTES)} was {longest_s * 1000:.0f} ms."
        )

    def copy_of_the_tree(self, paths: dict[str, Path]) -> None:
        """``rsync`` twice: the second run must copy nothing. Then compare all files."""
        if shutil.which("rsync") is None:
            self.narrator.say("rsync is not installed, so the tree is not copied.")
            return
        self.narrator.step("The whole tree, with rsync, twice")
        tree = self.copies / "tree"
        command = ["rsync", "-a", "--stats", "--max-size=10g", f"{self.mountpoint}/", f"{tree}/"]
        started_s = time.monotonic()
        copied = self._transferred(self._run(command))
        elapsed_s = time.monotonic() - started_s
        total_bytes = sum(path.stat().st_size for path in self.sample.files.values())
        self.narrator.say(f"First run: {counted(copied, 'file')}, {rate(total_bytes, elapsed_s)}.")
        started_s = time.monotonic()
        again = self._transferred(self._run(command))
        elapsed_s = time.monotonic() - started_s
        if again != 0:
            raise CheckFailed(f"the second rsync copied {again} files again")
        self.narrator.say(f"Second run: nothing to copy, {elapsed_s:.2f} s.")
        started_s = time.monotonic()
        pairs = [(tree / paths[code].name, file) for code, file in self.sample.files.items()]
        files, size_bytes = verify(pairs)
        self.narrator.say(
            f"SHA-256 of {files} copies ({megabytes(size_bytes)}) against the files on disk that "
            f"the emulator serves:\nall equal, in {time.monotonic() - started_s:.2f} s."
        )

    def account(self) -> None:
        """Print how many requests the mount has sent, by the emulator's own log."""
        self.narrator.step("What the mount asked for")
        entries = self.emulator.requests.entries()
        source = [entry for entry in entries if entry.route == "source"]
        expired = sum(entry.status == 403 for entry in source)
        served = sum(entry.bytes_sent for entry in source)
        self.narrator.say(
            f"{len(entries) - len(source)} API calls and {len(source)} ranged GETs, "
            f"{megabytes(served)} in all; {expired} met an expired signature"
            f"{' and went again with a new one' if expired else ''}."
        )

    def metadata(self, paths: dict[str, Path]) -> None:
        """The extended attributes of a film."""
        self.narrator.step("Metadata, as extended attributes")
        path = paths[self.sample.first_film]
        if shutil.which("getfattr") is None:
            self.narrator.say("getfattr is not installed (package attr), so they are not shown.")
            return
        output = self._run(["getfattr", "--absolute-names", "-d", path], show_output=True)
        if self.sample.first_film not in output:
            raise CheckFailed("the embed code is not among the attributes")

    def verified_copy(self, paths: dict[str, Path]) -> None:
        """``export`` of two files, and the manifest that it writes."""
        self.narrator.step("A verified copy, with export")
        archive = self.copies / "archive"
        files = [paths[code] for code in list(self.sample.files)[1:3]]
        self._run([*BACKLOTFS, "export", *files, archive], show_output=True)
        self._run([*BACKLOTFS, "verify", archive], show_output=True)

    def status(self) -> None:
        """``status`` of the mount."""
        self.narrator.step("The state of the mount")
        self._run([*BACKLOTFS, "status", self.mountpoint], show_output=True)

    def _read_paced(self, path: Path, urls_before: int) -> tuple[int, float]:
        """Read pieces; return their number, and the longest time that one took, in seconds.

        The progress is printed four times. It reads until the URL was renewed often enough, but not
        beyond a limit.
        """
        content = self.sample.endless_content
        pieces = self._pieces_in(_LIFETIMES_READ_THROUGH)
        most_pieces = self._pieces_in(_MOST_LIFETIMES_READ_THROUGH)
        longest_s = 0.0
        piece = 0
        with path.open("rb", buffering=0) as file:
            started_s = time.monotonic()
            while piece < pieces or (
                piece < most_pieces
                and self._urls_given(self.sample.endless) - urls_before < _LEAST_RENEWALS
            ):
                asked_s = time.monotonic()
                data = bytearray()
                while len(data) < _PIECE_BYTES:
                    part = file.read(_PIECE_BYTES - len(data))
                    if not part:
                        raise CheckFailed(f"{path} ends at byte {file.tell()}")
                    data += part
                longest_s = max(longest_s, time.monotonic() - asked_s)
                if data != content.read(piece * _PIECE_BYTES, _PIECE_BYTES):
                    raise CheckFailed(f"{path}: wrong bytes after byte {piece * _PIECE_BYTES}")
                piece += 1
                if piece <= pieces and piece % max(1, pieces // _LIFETIMES_READ_THROUGH) == 0:
                    urls = self._urls_given(self.sample.endless) - urls_before
                    done = megabytes(piece * _PIECE_BYTES)
                    self.narrator.say(f"… {done} read, all equal; URLs renewed so far: {urls}")
                time.sleep(max(0.0, started_s + piece * _PIECE_S - time.monotonic()))
        return piece, longest_s

    def _pieces_in(self, lifetimes: int) -> int:
        return int(lifetimes * self.url_lifetime_s / _PIECE_S) + 1

    def _urls_given(self, embed_code: str) -> int:
        log = self.emulator.requests
        return sum(log.count(route=route, embed_code=embed_code) for route in _URL_ROUTES)

    def _run(
        self,
        command: Sequence[str | Path],
        *,
        show_command: bool = True,
        show_output: bool = False,
    ) -> str:
        if show_command:
            self.narrator.command(command)
        finished = run(command, self.interruption)
        if show_output or finished.status != 0:
            self.narrator.say(finished.output)
        if finished.status != 0:
            raise CheckFailed(f"{command[0]} ended with {finished.status}")
        return finished.output

    @staticmethod
    def _transferred(stats: str) -> int:
        """The number of copied files in ``rsync --stats``, whose digits may be grouped."""
        found = re.search(r"regular files transferred: ([\d.,]+)", stats)
        if found is None:
            raise CheckFailed(f"rsync did not say what it copied:\n{stats}")
        return int(re.sub(r"\D", "", found[1]))
