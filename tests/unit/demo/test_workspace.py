"""The temporary folder goes away whole, and never through a live mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.demo import workspace as workspace_module
from backlotfs.demo.background_mount import write_profile
from backlotfs.demo.workspace import Workspace, mounted_at_or_below


def test_live_mounts_are_found_by_path() -> None:
    """Those below, and the path itself; not a neighbour whose name begins alike."""
    assert Path("/proc") in mounted_at_or_below(Path("/proc"))
    assert Path("/proc") not in mounted_at_or_below(Path("/pro"))


def test_all_of_it_is_removed() -> None:
    """Folders with files in them too."""
    workspace = Workspace()
    (workspace.folder("media") / "file").write_bytes(b"x")
    assert workspace.root.stat().st_mode & 0o077 == 0
    assert workspace.remove() is None
    assert not workspace.root.exists()


def test_folders_without_permission_are_removed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """rsync -a makes some; root may delete in them anyway, so their modes are looked at."""
    workspace = Workspace()
    inner = workspace.folder("tree")
    (inner / "file").write_bytes(b"x")
    inner.chmod(0o555)
    with monkeypatch.context() as patched:
        patched.setattr(workspace_module, "_REMOVAL_TRIES", 1)
        patched.setattr("shutil.rmtree", lambda _path, **_options: None)
        assert workspace.remove() is not None
    assert inner.stat().st_mode & 0o700 == 0o700
    assert workspace.remove() is None


def test_a_live_mount_is_never_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted, and the reader is told what to do."""
    workspace = Workspace()
    library = workspace.folder("library")
    (library / "precious").write_bytes(b"x")
    with monkeypatch.context() as patched:
        patched.setattr(workspace_module, "mounted_at_or_below", lambda _root: [library])
        reason = workspace.remove()
    assert reason is not None
    assert f"fusermount3 -u -z {library}" in reason
    assert (library / "precious").exists()
    assert workspace.remove() is None


def test_the_profile_is_for_its_owner_alone(tmp_path: Path) -> None:
    """From the first moment: it holds the secret."""
    path = tmp_path / "config.toml"
    write_profile(path, api_url="http://127.0.0.1:1", api_key="k.1", api_secret="s-_")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == (
        '[profiles.demo]\napi_url = "http://127.0.0.1:1"\napi_key = "k.1"\napi_secret = "s-_"\n'
    )
