"""Mount options, and the parts of a session that need no mount."""

from __future__ import annotations

import pytest

from backlotfs.kernel.session import MAX_BACKGROUND, KernelTtl, MountOptions


@pytest.mark.parametrize(
    ("source", "fsname"),
    [
        ("backlot:main", "backlot:main"),
        ("backlot:a,allow_other", "backlot:a_allow_other"),
        ("back\\lot", "back_lot"),
    ],
)
def test_source(source: str, fsname: str) -> None:
    """A comma in it would begin the next option."""
    assert MountOptions(source, KernelTtl.long()).fuse_options()["fsname"] == fsname


def test_options() -> None:
    """Read-only, and nothing on it runs or is trusted; requests enough for stalled readers."""
    options = MountOptions("s", KernelTtl.short()).fuse_options()
    assert all(options[name] for name in ("ro", "nosuid", "nodev", "noexec", "use_ino"))
    assert options["max_background"] == MAX_BACKGROUND == 256
    assert "allow_other" not in options
    assert "kernel_cache" not in options


def test_type() -> None:
    """Its own, unless it is told to borrow one."""
    assert MountOptions("s", KernelTtl.short()).fuse_options()["subtype"] == "backlotfs"
    borrowed = MountOptions("s", KernelTtl.short(), subtype="sshfs")
    assert borrowed.fuse_options()["subtype"] == "sshfs"


def test_allow_other() -> None:
    """Lets others in, under the files' own permissions."""
    options = MountOptions("s", KernelTtl.long(), allow_other=True).fuse_options()
    assert options["allow_other"]
    assert options["default_permissions"]


def test_memory() -> None:
    """Long only where entries can be taken back; with folders 5 s at most, and no absences."""
    brief = MountOptions("s", KernelTtl.short()).fuse_options()
    assert 0 < float(str(brief["attr_timeout"])) <= 5
    assert 0 < float(str(brief["entry_timeout"])) <= 5
    assert brief["negative_timeout"] == 0
    assert KernelTtl.long().entries > KernelTtl.short().entries
