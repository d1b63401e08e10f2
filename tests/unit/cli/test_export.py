# SPDX-License-Identifier: Apache-2.0
"""``export`` and ``verify`` as commands: what they print and how they end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.cli.export import CopyDiffers, NothingThere, export, verify
from backlotfs.cli.export_report import ExportIncomplete
from backlotfs.cli.progress import TransferBar
from backlotfs.errors import SettingsError
from backlotfs.export.destination import WORKSPACE, Workspace
from backlotfs.export.file_copy import part_key
from backlotfs.kernel import mount_table
from backlotfs.log.terminal import in_words
from backlotfs.namespace.incomplete_notice import Notice


@pytest.fixture
def library(place: Path) -> Path:
    """Two files in a mount."""
    (place / "a.mov").write_bytes(b"a" * 2000)
    (place / "b.mov").write_bytes(b"b")
    return place


@pytest.fixture
def copy(library: Path, tmp_path: Path) -> Path:
    """An export of it."""
    assert run_export(f"{library}/", tmp_path / "copy").exit_code == 0
    return tmp_path / "copy"


def run_export(*arguments: str | Path) -> Result:
    """Run ``backlotfs export``."""
    return CliRunner().invoke(export, [str(word) for word in arguments])


def run_verify(*arguments: str | Path) -> Result:
    """Run ``backlotfs verify``."""
    return CliRunner().invoke(verify, [str(word) for word in arguments])


def test_an_export_says_what_it_did(library: Path, tmp_path: Path) -> None:
    """In one line, and how to check it; without a terminal no bar."""
    done = run_export(library, tmp_path / "copy")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "2 files, 2.0 KiB, copied and verified; 0 unchanged (size and time), 0 failed",
        f"check them at any time: backlotfs verify {tmp_path / 'copy'}",
    ]
    assert (tmp_path / "copy" / "library" / "a.mov").is_file()


def test_a_folder_in_no_mount_is_named(library: Path, tmp_path: Path) -> None:
    """It may be the mountpoint of a mount that is missing, or a share of another machine."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.mov").write_bytes(b"c")
    done = run_export(library, other, other / "c.mov", tmp_path / "copy")
    assert done.exit_code == 0
    assert done.stderr.startswith(f"backlotfs: note: {other} and 1 more: in no mount of backlotfs")
    assert "backlotfs status" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["copy", "dry run"])
def test_a_source_that_does_not_exist(tmp_path: Path, dry_run: tuple[str, ...]) -> None:
    """One line says so, and nothing else is said or made."""
    absent = tmp_path / "libary"
    done = run_export(*dry_run, absent, absent / "a.mov", tmp_path / "copy")
    assert isinstance(done.exception, NothingThere)
    assert str(done.exception).startswith(f"there is no file or folder {absent} and 1 more; ")
    assert done.output == ""
    assert not (tmp_path / "copy").exists()


def test_one_of_several_sources_does_not_exist(library: Path, tmp_path: Path) -> None:
    """It is a failure; the others are copied."""
    done = run_export(tmp_path / "absent.mov", library, tmp_path / "copy")
    assert done.stderr == "backlotfs: absent.mov: No such file or directory\n"
    assert "2 files, 2.0 KiB, copied and verified" in done.stdout
    assert str(done.exception).startswith("1 of 3 files failed; each is named above")


def test_sha256sum_checks_the_copy(copy: Path) -> None:
    """Without us."""
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "MANIFEST.sha256"], cwd=copy, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr


def test_a_folder_that_hides_files_is_no_complete_copy(library: Path, tmp_path: Path) -> None:
    """The note of the mount says so; it is not copied, and what is listed is."""
    notice = Notice.of(1, 703, 180.0)
    (library / notice.name).write_bytes(notice.text)
    (library / "NOT ALL FILES ARE LISTED YET (1 to come).txt").write_bytes(b"somebody's own")
    done = run_export(f"{library}/", tmp_path / "copy")
    assert isinstance(done.exception, ExportIncomplete)
    assert done.stderr == (
        f"backlotfs: {notice.name}: the mount hides files of unknown size (--unsized hide) and "
        "does not know this program; run this again when backlotfs status says: sizes all known\n"
    )
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "MANIFEST.sha256", "NOT ALL FILES ARE LISTED YET (1 to come).txt", "a.mov", "b.mov",
    ]  # fmt: skip
    done = run_verify(tmp_path / "copy", "--source", f"{library}/")
    assert isinstance(done.exception, CopyDiffers)


def test_a_dry_run_writes_nothing(library: Path, tmp_path: Path) -> None:
    """Each file and its size."""
    done = run_export("--dry-run", f"{library}/", tmp_path / "copy")
    assert done.stdout.splitlines() == [
        "a.mov  2.0 KiB",
        "b.mov  1 B",
        "2 files, 2.0 KiB, to copy; 0 unchanged (size and time), 0 failed",
    ]
    assert not (tmp_path / "copy").exists()


def test_a_failure_is_a_line_and_exit_1(library: Path, tmp_path: Path) -> None:
    """The others are exported."""
    done = run_export(f"{library}/", library / "none.mov", tmp_path / "copy")
    assert done.stderr == "backlotfs: none.mov: No such file or directory\n"
    assert isinstance(done.exception, ExportIncomplete)
    assert done.exception.exit_code == 1
    assert str(done.exception) == (
        "1 of 3 files failed; each is named above; run the same command again to continue"
    )
    assert (tmp_path / "copy" / "b.mov").is_file()


def test_json_has_every_file(library: Path, tmp_path: Path) -> None:
    """One object, failures in it."""
    done = run_export("--json", f"{library}/", library / "none.mov", tmp_path / "copy")
    report = json.loads(done.stdout)
    assert (report["copied"], report["failed"], report["bytes"]) == (2, 1, 2001)
    states = {file["name"]: file["state"] for file in report["files"]}
    assert states == {"a.mov": "copied", "b.mov": "copied", "none.mov": "failed"}


def test_an_empty_mountpoint_is_no_success(tmp_path: Path) -> None:
    """A backup of nothing that says it is fine is worse than none."""
    (tmp_path / "library").mkdir()
    done = run_export(f"{tmp_path}/library/", tmp_path / "copy")
    assert isinstance(done.exception, NothingThere)
    assert done.exception.exit_code == 1
    assert not (tmp_path / "copy").exists()


def test_names_that_a_disk_takes_for_one_are_not_mixed_up(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is a failure, not a replacement."""
    monkeypatch.setattr(Workspace, "folds_case", lambda _workspace: True)
    (library / "A.mov").write_bytes(b"another")
    done = run_export(f"{library}/", tmp_path / "copy")
    assert done.stderr.startswith("backlotfs: a.mov: is the same name as A.mov")
    assert isinstance(done.exception, ExportIncomplete)
    assert str(done.exception) == "1 of 3 files failed; each is named above", "again would not help"
    assert sorted(path.name for path in (tmp_path / "copy").glob("*.mov")) == ["A.mov", "b.mov"]


def test_ctrl_c_while_it_looks_for_files(
    library: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says that nothing is copied yet; DEST is not touched."""

    def stopped(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("backlotfs.cli.export.find_items", stopped)
    before = sorted(copy.iterdir()) if copy.exists() else None
    done = run_export(f"{library}/", copy)
    assert done.exit_code == 1  # of click's runner; the program itself ends with 130
    assert "backlotfs: stopped: nothing is copied yet; run the same command again" in done.stderr
    assert (sorted(copy.iterdir()) if copy.exists() else None) == before


def unfinished(copy: Path, name: str, begun: bytes, source: Path) -> list[Path]:
    """The part and the checkpoint of a file, as an export leaves them that was cut off."""
    workspace = copy / WORKSPACE
    workspace.mkdir(mode=0o700, exist_ok=True)
    part = workspace / f"{part_key(name)}.part"
    part.write_bytes(begun)
    status = source.stat()
    note = {
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "length_bytes": len(begun),
        "sha256": hashlib.sha256(begun).hexdigest(),
    }
    checkpoint = part.with_suffix(".checkpoint")
    checkpoint.write_text(json.dumps(note))
    return [part, checkpoint]


def test_what_an_export_continues_is_said(library: Path, copy: Path) -> None:
    """With the bytes that are there already; in JSON nothing else is printed."""
    (library / "c.mov").write_bytes(b"c" * 3000)
    unfinished(copy, "c.mov", b"c" * 2048, library / "c.mov")
    done = run_export(f"{library}/", copy)
    assert done.exit_code == 0
    assert done.stderr == ("backlotfs: continued: 2.0 KiB of 1 unfinished file already there\n")
    assert (copy / "c.mov").read_bytes() == b"c" * 3000
    assert run_export(f"{library}/", copy).stderr == ""


def test_parts_of_other_names_go_when_all_is_complete(library: Path, copy: Path) -> None:
    """Not before: until then they may be what the next export continues."""
    left = unfinished(copy, "gone.mov", b"g", library / "a.mov")
    done = run_export(f"{library}/", library / "none.mov", copy)
    assert isinstance(done.exception, ExportIncomplete)
    assert all(path.exists() for path in left)
    assert run_export(f"{library}/", copy).exit_code == 0
    assert sorted(path.name for path in copy.iterdir()) == ["MANIFEST.sha256", "a.mov", "b.mov"]


def test_parts_of_other_sources_stay(library: Path, copy: Path, tmp_path: Path) -> None:
    """Whoever exports them continues there."""
    other = tmp_path / "other.mov"
    other.write_bytes(b"o" * 3000)
    left = unfinished(copy, "other.mov", b"o" * 2048, other)
    assert run_export(f"{library}/", copy).exit_code == 0
    assert all(path.exists() for path in left)
    assert run_export(other, copy).exit_code == 0
    assert (copy / "other.mov").read_bytes() == b"o" * 3000
    assert not (copy / WORKSPACE).exists()


def test_a_disk_too_small_is_said_before(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after hours."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    done = run_export(f"{library}/", tmp_path / "copy")
    assert isinstance(done.exception, SettingsError)
    assert "2.0 KiB must be copied" in str(done.exception)


def test_a_place_that_cannot_be_written_is_said(library: Path) -> None:
    """In a sentence."""
    done = run_export(f"{library}/", "/proc/nothing/here")
    assert isinstance(done.exception, SettingsError)
    assert "cannot write to /proc/nothing/here" in str(done.exception)


def test_a_good_copy_is_verified(copy: Path, library: Path) -> None:
    """Against the manifest, and against its source."""
    checked = "2 files, 2.0 KiB, checked; 0 wrong"
    done = run_verify(copy, "--source", f"{library}/")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{checked}, 0 missing\n"
    assert run_verify(copy).stdout == (
        "files that were never exported are not looked for; --source SRC looks for them\n"
        f"{checked}\n"
    )


def test_an_unfinished_export_on_a_disk_without_modes(copy: Path) -> None:
    """Its workspace is open to others, as all is there; it is this user's own all the same."""
    (copy / WORKSPACE).mkdir()
    (copy / WORKSPACE).chmod(0o777)
    done = run_verify(copy)
    assert isinstance(done.exception, CopyDiffers)
    assert str(done.exception) == (
        "2 files checked: an export into this folder is unfinished; run the export again, or "
        "remove .backlotfs-export there to give up what it has begun, then verify again"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_unfinished_export(copy: Path) -> None:
    """Is not this user's to run again."""
    (copy / WORKSPACE).mkdir()
    os.chown(copy / WORKSPACE, 65534, 65534)
    done = run_verify(copy)
    assert "belongs to another user, whose export" in done.stdout
    assert done.exit_code == 0, "it may be no export at all"


def test_a_slash_that_was_forgotten(copy: Path, library: Path) -> None:
    """Then each name has a folder before it, and none is in the copy."""
    done = run_verify(copy, "--source", library)
    assert "2 never exported; name SRC as for the export, with or without a slash" in str(
        done.exception
    )


def test_each_kind_of_damage_is_named(copy: Path, library: Path) -> None:
    """Bytes, a missing file, a new source; a stranger is no failure of its own."""
    (copy / "a.mov").write_bytes(b"x" * 2000)
    (copy / "b.mov").unlink()
    (copy / "notes.txt").write_text("mine")
    (library / "c.mov").write_bytes(b"c")
    done = run_verify(copy, "--source", f"{library}/")
    assert isinstance(done.exception, CopyDiffers)
    assert sorted(done.stderr.splitlines()) == [
        "backlotfs: a.mov: does not have the bytes of the manifest; "
        "export it again with --checksum",
        "backlotfs: b.mov: is missing; export it again",
        "backlotfs: c.mov: was never exported; export it",
    ]
    assert "not in the manifest: notes.txt" in done.stdout
    assert "checked" not in done.stdout, "there is one verdict"
    assert str(done.exception) == (
        "2 files checked: 1 wrong, 1 missing, 1 never exported; "
        "do what the lines above say, then verify again"
    )
    done = run_verify(copy, "--source", f"{library}/", "--source", copy / "absent")
    assert "1 never exported, 1 source unreadable; do what" in str(done.exception)


def test_missing_files_are_exported_again(copy: Path, library: Path) -> None:
    """That is what the verdict says, and after that it is right."""
    (copy / "b.mov").unlink()
    (library / "c.mov").write_bytes(b"c")
    done = run_verify(copy, "--source", f"{library}/")
    assert str(done.exception) == (
        "2 files checked: 1 missing, 1 never exported; "
        "run the export again, which names what it cannot copy, then verify again"
    )
    assert run_export(f"{library}/", copy).exit_code == 0
    assert run_verify(copy, "--source", f"{library}/").exit_code == 0


@pytest.mark.parametrize("complete", [True, False], ids=["after others", "the first file"])
def test_an_unfinished_export_is_not_right(copy: Path, library: Path, complete: bool) -> None:
    """What is complete may be; a script has to know that it is not all."""
    unfinished(copy, "c.mov", b"c" * 2048, library / "a.mov")
    if not complete:
        for name in ("a.mov", "b.mov", "MANIFEST.sha256"):
            (copy / name).unlink()
    said = f"{2 * complete} files checked: 1 partly exported; run the export again, or remove"
    done = run_verify(copy)
    assert isinstance(done.exception, CopyDiffers)
    assert str(done.exception).startswith(said)
    done = run_verify("--json", copy)
    assert isinstance(done.exception, CopyDiffers)
    assert json.loads(done.stdout)["unfinished"] == 1


def test_a_killed_export_is_not_right(copy: Path) -> None:
    """Between two files it leaves its journal alone."""
    (copy / WORKSPACE).mkdir(mode=0o700)
    (copy / WORKSPACE / "journal").touch()
    done = run_verify(copy)
    assert isinstance(done.exception, CopyDiffers)
    assert str(done.exception) == (
        "2 files checked: an export into this folder is unfinished; run the export again, or "
        "remove .backlotfs-export there to give up what it has begun, then verify again"
    )


def test_a_second_export_says_what_it_looked_at(copy: Path, library: Path) -> None:
    """Size and time only; the bytes too with --checksum, which mends what differs."""
    (copy / "b.mov").write_bytes(b"X")
    status = (library / "b.mov").stat()
    os.utime(copy / "b.mov", ns=(status.st_mtime_ns, status.st_mtime_ns))
    done = run_export(f"{library}/", copy)
    assert (
        done.stdout == "0 files, 0 B, copied and verified; 2 unchanged (size and time), 0 failed\n"
    )
    report = json.loads(run_export("--json", f"{library}/", copy).stdout)
    assert (report["copied"], report["verified"], report["unchanged"]) == (0, 0, 2)
    assert [file["sha256"] for file in report["files"]] == [None, None]
    done = run_export("--checksum", f"{library}/", copy)
    assert done.stdout.splitlines()[0] == (
        "1 file, 1 B, copied and verified; 1 compared with the source, "
        "0 unchanged (size and time), 0 failed"
    )
    assert (copy / "b.mov").read_bytes() == b"b"
    report = json.loads(run_export("--json", "--checksum", f"{library}/", copy).stdout)
    assert (report["copied"], report["verified"], report["unchanged"]) == (0, 2, 0)
    assert run_verify(copy).exit_code == 0


def test_a_linked_folder_fails_what_would_go_there(library: Path, tmp_path: Path) -> None:
    """Nothing lands outside, nothing outside counts, also where it has the right bytes."""
    copy, outside = tmp_path / "copy", tmp_path / "outside"
    (library / "News").mkdir()
    (library / "News" / "c.mov").write_bytes(b"c")
    assert run_export(f"{library}/", copy).exit_code == 0
    (copy / "News").rename(outside)
    (copy / "News").symlink_to(outside)
    (outside / "c.mov").write_bytes(b"foreign")
    for options in ([], ["--overwrite"], ["--checksum"], ["--dry-run"]):
        done = run_export(*options, f"{library}/", copy)
        assert isinstance(done.exception, ExportIncomplete)
        assert done.stderr.startswith(
            "backlotfs: News/c.mov: News in the destination is a symbolic link, not a folder"
        )
    assert (outside / "c.mov").read_bytes() == b"foreign"
    assert [path.name for path in outside.iterdir()] == ["c.mov"]
    (outside / "c.mov").write_bytes(b"c")
    done = run_verify(copy)
    assert isinstance(done.exception, CopyDiffers)
    assert "News/c.mov: News in the destination is a symbolic link" in done.stderr


def test_dest_may_be_a_link(library: Path, tmp_path: Path) -> None:
    """It is what the user named."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "link").symlink_to("archive")
    assert run_export(f"{library}/", tmp_path / "link").exit_code == 0
    assert run_verify(tmp_path / "link").exit_code == 0
    assert (tmp_path / "archive" / "a.mov").is_file()


def test_a_disk_that_is_not_mounted(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fstab would mount there is named; the copy is made all the same."""
    place = tmp_path / "my nas"
    place.mkdir()
    table = tmp_path / "fstab"
    escaped = str(place).replace(" ", "\\040")
    table.write_text(f"# {place}\n/dev/sda1 / ext4 defaults 0 1\n//nas/x {escaped} cifs ro 0 0\n")
    monkeypatch.setattr(mount_table, "FSTAB", table)
    done = run_export(f"{library}/", place / "copy")
    assert f"note: {place}: /etc/fstab names a disk for it, but it is not" in done.stderr
    assert run_verify(place / "copy").exit_code == 0
    table.write_text("//nas/x /proc/ cifs ro 0 0\nUUID=1 none swap sw 0 0\n/dev/sdb\n")
    assert "/etc/fstab" not in run_export(f"{library}/", place / "copy").stderr


def test_a_planted_workspace_is_said_once(library: Path, tmp_path: Path) -> None:
    """Before anything is copied, with what it is and what to do."""
    (tmp_path / "copy" / WORKSPACE).mkdir(parents=True)
    (tmp_path / "copy" / WORKSPACE).chmod(0o777)
    done = run_export(f"{library}/", tmp_path / "copy")
    assert isinstance(done.exception, SettingsError)
    assert "with mode 777, not a folder that only you can enter" in str(done.exception)
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [WORKSPACE]


def test_checksum_and_dry_run_exclude_each_other(library: Path, tmp_path: Path) -> None:
    """One reads all, the other nothing."""
    done = run_export("--checksum", "--dry-run", f"{library}/", tmp_path / "copy")
    assert isinstance(done.exception, SettingsError)


def test_a_source_of_another_size_is_named(copy: Path, library: Path) -> None:
    """The copy is of an older version."""
    (library / "b.mov").write_bytes(b"longer")
    done = run_verify("--json", copy, "--source", f"{library}/")
    report = json.loads(done.stdout)
    assert [problem["name"] for problem in report["problems"]] == ["b.mov"]
    assert "has 1 byte, its source 6" in report["problems"][0]["reason"]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    """Nothing was checked, so nothing is fine."""
    done = run_verify(tmp_path)
    assert isinstance(done.exception, SettingsError)


def test_the_bar_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log file gets lines; a terminal without wish for colours gets none."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with TransferBar("export", 100) as bar:
        bar.moved(50)
        bar.say("a line")
    assert capsys.readouterr().err == "a line\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with TransferBar("export", 100) as bar:
        bar.moved(50)
        bar.say("[red]a :smile: line")
    drawn = capsys.readouterr().err
    assert "[red]a :smile: line" in drawn
    assert "50/100 bytes" in drawn
    assert "\x1b[3" not in drawn, "a colour"
    with TransferBar("looking for files", None) as bar:
        bar.note("sizes: 2 of 5 known")
    drawn = capsys.readouterr().err
    assert "waiting for sizes: 2 of 5 known" in drawn
    assert "0/0" not in drawn
    assert drawn.endswith("\x1b[2K"), "it is erased"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**41, "2.0 TiB")]
)
def test_sizes_in_words(count: int, words: str) -> None:
    """Powers of 1024, with the unit that says so."""
    assert in_words(count) == words
