"""The manifest: as sha256sum writes and reads it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import SettingsError
from backlotfs.export.manifest import (
    JOURNAL,
    MANIFEST,
    ManifestWriter,
    format_line,
    parse_lines,
    read_manifest,
)

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
NAMES = ["a.mov", "two words.mov", "back\\slash", "line\nbreak\r", " *x", "ä.mov", "\udcff.mov"]
RAW_NAMES = st.binary(min_size=1).filter(lambda raw: not set(raw) & {0, ord("/")} and raw != b"..")


@given(RAW_NAMES.map(os.fsdecode).filter(lambda name: not name.startswith("./")))
def test_every_name_comes_back(name: str) -> None:
    """Whatever bytes a file system allows in it."""
    assert parse_lines(format_line(name, A), "m") == {name: A}


def test_sha256sum_writes_the_same_lines(tmp_path: Path) -> None:
    """Byte for byte, escapes included; and it accepts ours."""
    for name in NAMES:
        (tmp_path / name).write_bytes(b"a")
    raw = [os.fsencode(name) for name in NAMES]
    theirs = subprocess.run(["sha256sum", "--", *raw], cwd=tmp_path, capture_output=True)
    ours = b"".join(format_line(name, A) for name in NAMES)
    assert ours == theirs.stdout
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "-"], cwd=tmp_path, input=ours, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        A[:-1].encode() + b"  a\n",
        A.encode() + b"  ../../etc/passwd\n",
        A.encode() + b"  /etc/passwd\n",
    ],
)
def test_what_is_no_manifest_is_refused(line: bytes) -> None:
    """And so is one that leads out of its folder."""
    with pytest.raises(SettingsError, match="line 1"):
        parse_lines(line, "m")


def test_a_torn_line_is_left_out() -> None:
    """Of a journal that a crash cut: the digest of that file is not known."""
    assert parse_lines(format_line("a", A) + format_line("b", B)[:-3], "m") == {"a": A}


def test_the_journal_counts_until_the_manifest_is_written(tmp_path: Path) -> None:
    """What was recorded survives an end without `close`; the next export keeps it."""
    (tmp_path / MANIFEST).write_bytes(format_line("a", A))
    ManifestWriter(tmp_path).record("b", B)  # and killed
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b"0123 torn")
    assert read_manifest(tmp_path) == {"a": A, "b": B}
    second = ManifestWriter(tmp_path)
    second.record("a", B)
    second.close()
    assert (tmp_path / MANIFEST).read_bytes() == format_line("a", B) + format_line("b", B)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST]


def test_nothing_exported_leaves_no_manifest(tmp_path: Path) -> None:
    """An empty one would look like a proof of something."""
    ManifestWriter(tmp_path).close()
    assert list(tmp_path.iterdir()) == []
