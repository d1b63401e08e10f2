# SPDX-License-Identifier: Apache-2.0
"""What a file of the mount may show, decided from the origin alone. Pure.

The model knows every version that each source ever had. It does not predict which one an open file
is pinned to: it keeps the set of those that everything seen so far allows, and that set may only
shrink. A byte that no allowed version has there, a mixture of two versions, a step back to an older
version, an error that nothing explains: each leaves the set empty, or breaks a rule below.
"""

from __future__ import annotations

import errno

from backlotfs.emulator import EmulatedAsset
from tests.support.expected_bytes import len_of, origin_bytes

#: What reading a source may answer once the origin has deleted its asset.
GONE = frozenset({errno.ESTALE, errno.ENOENT, errno.ENODATA})


class ModelFile:
    """One asset, with all versions of its source, oldest first.

    :ivar settled: index of the version that the mount is known to have learned of; what `stat`
        shows is at least that.
    :ivar opened: index of the newest version that an open has shown for certain; what a later open
        shows is at least that.
    :ivar listed: the mount is known to show the file (None: it may or may not).
    :ivar deleted: the origin has no such asset any more.
    """

    def __init__(self, asset: EmulatedAsset) -> None:
        assert asset.original_file_name is not None
        self.name = asset.original_file_name
        self.embed_code = asset.embed_code
        self.versions = [asset]
        self.settled = 0
        self.opened = 0
        self.listed: bool | None = None
        self.deleted = False

    @property
    def latest(self) -> int:
        """Index of the version that the origin has now."""
        return len(self.versions) - 1

    def replaced(self, asset: EmulatedAsset) -> None:
        """The origin has another source now."""
        self.versions.append(asset)

    def gone(self) -> None:
        """The origin deleted the asset."""
        self.deleted = True
        self.listed = None

    def settle(self) -> None:
        """The mount has learned of all that happened at the origin until now."""
        self.settled = self.opened = self.latest
        self.listed = not self.deleted

    def check_stat(self, size: int, mtime_s: int) -> None:
        """`stat` succeeded: it shows one version, not older than what was settled."""
        assert self.listed is not False, f"stat of {self.name}, which is deleted, succeeded"
        shown = [_shown(version) for version in self.versions[self.settled :]]
        seen = (size, mtime_s if size else 0)
        assert seen in shown, f"stat of {self.name} shows {seen}, the origin had {shown}"

    def shows_latest(self, size: int, mtime_s: int) -> bool:
        """Whether this is what `stat` must come to show."""
        return (size, mtime_s if size else 0) == _shown(self.versions[-1])

    def check_absent(self, number: int) -> None:
        """`stat` or `open` failed with this errno: only a deleted or not yet listed file may."""
        allowed = {errno.ENOENT} if self.listed is False else GONE
        assert number in allowed, f"{self.name}: {errno.errorcode[number]}"
        assert self.listed is not True, f"{self.name} is there, but: {errno.errorcode[number]}"


class ModelHandle:
    """An open file: which versions it may be pinned to, and what its close must say."""

    def __init__(self, file: ModelFile) -> None:
        assert file.listed is not False, f"open of {file.name}, which is deleted, succeeded"
        self.file = file
        self.may_be = set(range(file.opened, file.latest + 1))
        self._must_fail_at_close = False

    def saw(self, offset: int, length: int, data: bytes) -> None:
        """A read gave ``data``.

        :raises AssertionError: no one version that this handle may be on has these bytes there.
        """
        whole, cut = set(), set()
        for number in self.may_be:
            expected = origin_bytes(self.file.versions[number], offset, length)
            if data == expected:
                whole.add(number)
            elif self._replaced(number) and expected.startswith(data):
                cut.add(number)  # the kernel has the new, smaller size: the close must tell
        if not whole | cut:
            raise AssertionError(self._difference(offset, length, data))
        self.may_be = whole | cut
        self._must_fail_at_close |= not whole
        self.file.opened = max(self.file.opened, min(self.may_be))

    def failed(self, number: int) -> None:
        """A read failed: only the source's replacement or deletion explains that."""
        name = f"{self.file.name}: {errno.errorcode[number]}"
        if self.file.deleted:
            assert number in GONE, f"{name} from a deleted source"
            self._must_fail_at_close |= number == errno.ESTALE
            return
        assert number == errno.ESTALE, f"{name} though nothing is wrong"
        self._is_not_the_latest(name)
        self._must_fail_at_close = True
        self.file.opened = max(self.file.opened, min(self.may_be) + 1)

    def closed(self, number: int) -> None:
        """`close` said this (0: fine)."""
        name = f"close of {self.file.name}: {errno.errorcode.get(number, 'fine')}"
        if number == 0:
            assert not self._must_fail_at_close, f"{name}, though bytes were missing"
            return
        assert number == errno.ESTALE, name
        if not self.file.deleted:
            self._is_not_the_latest(name)

    def _is_not_the_latest(self, name: str) -> None:
        self.may_be.discard(self.file.latest)
        assert self.may_be, f"{name}, though it is open on the newest version"

    def _replaced(self, number: int) -> bool:
        return number < self.file.latest or self.file.deleted

    def _difference(self, offset: int, length: int, data: bytes) -> str:
        """Which bytes, and what they are instead, where that can be told."""
        lines = [f"{self.file.name}: {len(data)} bytes for pread({length}, {offset}) are wrong"]
        for number, version in enumerate(self.file.versions):
            expected = origin_bytes(version, offset, length)
            same = next(
                (at for at, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b), None
            )
            first = "only in length" if same is None else f"first at byte {offset + same}"
            verdict = "equal, but not allowed" if data == expected else f"differ {first}"
            lines.append(f"  version {number} ({len_of(version)} bytes): {verdict}")
        return "\n".join(lines)


def _shown(version: EmulatedAsset) -> tuple[int, int]:
    """Size and time that `stat` shows; hosts tell no time of an empty object (416), so 0."""
    assert version.content is not None
    size = version.content.size
    return size, version.content.last_modified if size else 0
