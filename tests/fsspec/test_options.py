# SPDX-License-Identifier: Apache-2.0
"""The options of a file system, and what is said of wrong ones: one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from backlotfs.emulator import Emulator, EmulatorSettings, Library
from backlotfs.fsspec import BacklotFileSystem
from tests.fsspec.conftest import SMALL, MakeFs
from tests.support.commands import ROOT
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import KIB, video
from tests.support.request_log import calls_by_window, ended_requests

CLIPS = ["/clip.mov", "/film.mov", "/note [1].txt", "/small.bin"]


def test_a_profile_by_the_host_of_a_url(profile: Path) -> None:
    """With the options of the profile; the host is no part of the path."""
    fs, path = fsspec.core.url_to_fs("backlot://main/clip.mov")
    assert path == "/clip.mov"
    assert fs.exists("/clip.mov.json")
    assert fs.unstrip_protocol(path) == "backlot://main/clip.mov"
    assert fs.exists("backlot://main/clip.mov")


def test_the_only_profile(profile: Path) -> None:
    """An URL without a host."""
    fs, _ = fsspec.core.url_to_fs("backlot:///")
    assert fs.exists("/clip.mov.json")
    assert fs.unstrip_protocol("/clip.mov") == "backlot:///clip.mov"


def test_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a mount."""
    monkeypatch.setenv("BACKLOT_API_URL", emulator.api_url)
    monkeypatch.setenv("BACKLOT_API_KEY", emulator.api_key)
    monkeypatch.setenv("BACKLOT_API_SECRET", emulator.api_secret)
    assert sorted(fsspec.filesystem("backlot").ls("/", detail=False)) == CLIPS


def test_options_are_those_of_mount(make_fs: MakeFs, tmp_path: Path) -> None:
    """Texts as on a command line, or values of Python."""
    fs = make_fs(
        layout=["flat", "labels"],
        cache_dir=tmp_path / "own",
        memory="64M",
        metadata_ttl="1h",
        include="*.mov",
        include_type=["video"],
        use_listings_cache=False,  # of fsspec: without a meaning here
    )
    assert sorted(fs.ls("/", detail=False)) == ["/flat", "/labels"]
    assert sorted(fs.ls("/flat", detail=False)) == ["/flat/clip.mov", "/flat/film.mov"]
    assert (tmp_path / "own" / "catalog").is_dir()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layuot": "flat"}, "unknown option 'layuot'; did you mean layout?"),
        ({"layout": "flatt"}, "option layout: 'flatt' is not a layout"),
        ({"memory": "many"}, "option memory: 'many' is not a size"),
        ({"sidecars": "perhaps"}, "option sidecars: "),
        ({"include": 5}, "option include cannot be 5"),
        ({"api_secret": b"secret"}, "option api_secret must be a text"),
        ({"profile": "my film.mov"}, "'my film.mov' is no name of a profile; write backlot://"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    """When the file system is made, before anything is asked."""
    with pytest.raises(ValueError, match=said.replace("?", r"\?")) as caught:
        BacklotFileSystem(**options)
    assert "\n" not in str(caught.value)


def test_a_share_of_the_calls(profile: Path) -> None:
    """Listing and sizes keep within it, as a mount's do; it may be named by the profile."""
    window_s = 3.0
    limited = EmulatorSettings(cdn=False, rate_limit=300, rate_window_s=window_s)
    clips = [video(f"clip-{number:02}.mov", 100 + number) for number in range(20)]
    with Emulator(Library(clips), limited) as emulator:
        account = f'api_key = "{emulator.api_key}"\napi_secret = "{emulator.api_secret}"\n'
        profile.write_text(
            f'[profiles.main]\napi_url = "{emulator.api_url}"\n{account}'
            'api_shares = { farm = "1/20" }\n'
        )
        fs = fsspec.filesystem("backlot", profile="main", api_share="farm")
        assert sorted(map(fs.size, fs.ls("/", detail=False))) == [*range(100, 120)]
        windows = calls_by_window(emulator, window_s)
        assert sum(windows.values()) >= len(clips)
        assert max(windows.values()) <= 15
        assert ended_requests(emulator, status=429) == []
    fs = fsspec.filesystem("backlot", profile="main", api_share="frm")
    with pytest.raises(ValueError, match=r"'frm' is no share .* a name of the profile: farm"):
        fs.ls("/")


def test_an_unknown_profile(profile: Path) -> None:
    """The message names those that there are."""
    with pytest.raises(ValueError, match="has no profile other; it has: main"):
        fsspec.open("backlot://other/clip.mov").open()


def test_several_profiles(profile: Path) -> None:
    """The message says where to name one."""
    profile.write_text(profile.read_text() + '[profiles.second]\napi_url = "http://localhost"\n')
    with pytest.raises(ValueError, match="write backlot://PROFILE/PATH with one of: main, second"):
        fsspec.open("backlot:///clip.mov").open()


def test_no_account() -> None:
    """Neither a profile nor the environment."""
    with pytest.raises(ValueError, match="no API key: set BACKLOT_API_KEY"):
        fsspec.filesystem("backlot").ls("/")


def test_refused_credentials(make_fs: MakeFs) -> None:
    """An error of permission, with advice; a later attempt is made anew."""
    with pytest.raises(PermissionError, match="compare address, key and secret"):
        make_fs(api_secret="another-secret").ls("/")


def test_no_api(make_fs: MakeFs) -> None:
    """Nobody listens there."""
    with pytest.raises(OSError, match="is the address right"):
        make_fs(api_url="http://127.0.0.1:9").ls("/")


def test_a_named_profile_is_not_overridden(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL names its library, whatever the environment of a worker names."""
    for name in ("URL", "KEY", "SECRET"):
        monkeypatch.setenv(f"BACKLOT_API_{name}", "http://127.0.0.1:9" if name == "URL" else "x")
    with fsspec.open("backlot://main/small.bin") as file:
        assert file.read() == origin_bytes(SMALL, 0, 5 * KIB)


def test_another_profile_is_never_read_by_mistake(profile: Path) -> None:
    """fsspec makes the file system of a list from its first URL."""
    fs = fsspec.filesystem("backlot", profile="main")
    assert fs.cat_file("backlot://main/small.bin") == origin_bytes(SMALL, 0, 5 * KIB)
    assert fsspec.filesystem("backlot").exists("backlot://main/small.bin")
    with pytest.raises(ValueError, match="is of the profile second"):
        fs.cat_file("backlot://second/small.bin")
    urls = ["backlot://main/small.bin", "backlot://second/small.bin"]
    with pytest.raises(ValueError, match="is of the profile second"):
        [opened.open() for opened in fsspec.open_files(urls)]


@pytest.mark.long
def test_the_token_is_the_same_in_each_process() -> None:
    """Dask compares it; the order of a set differs between processes."""
    program = (
        "import fsspec; print(fsspec.filesystem('backlot', include_status="
        "['live', 'paused', 'processing', 'uploading']).__dask_tokenize__())"
    )
    tokens = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(tokens) == 1
