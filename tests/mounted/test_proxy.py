# SPDX-License-Identifier: Apache-2.0
"""A mount that reaches the world through a proxy alone, by names that only the proxy knows."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from backlotfs.emulator import Emulator
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.commands import PROFILE
from tests.support.connect_proxy import ConnectProxy
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.outage import closed_port
from tests.support.tls_front import TlsFront

pytestmark = pytest.mark.mounted

REEL, LONG = video("reel.mov", 3 * MIB), video("long.mov", 64 * MIB)
API, MEDIA = "api.studio.invalid", "media.studio.invalid"
PASSWORD = "planted-proxy/password"  # of no proxy but ours
CREDENTIALS = f"robot:{PASSWORD}"
#: As it stands in a profile.
USERINFO = "robot:planted-proxy%2Fpassword"


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """A library whose sources are on a host of their own."""
    return serve(REEL, LONG, source_base_url=f"http://{MEDIA}")


def proxy_of(emulator: Emulator, *, port: int = 0, credentials: str | None = None) -> ConnectProxy:
    """A proxy that knows where the two hosts are."""
    place = emulator.api_url.removeprefix("http://")
    places = {f"{API}:80": place, f"{MEDIA}:80": place}
    return ConnectProxy(port=port, places=places, credentials=credentials)


def profile(folder: Path, emulator: Emulator, proxy: str, **more: str) -> list[str]:
    """Options that name a profile with this proxy in it."""
    path = commands.write_config(folder / "proxied.toml", emulator, api_url=f"http://{API}")
    lines = {"proxy": proxy, **more}
    text = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
    path.write_text(path.read_text() + text)
    return ["--config", str(path), "--profile", PROFILE]


def test_everything_goes_through_it(emulator: Emulator, mounted: MountIt, tmp_path: Path) -> None:
    """Listing, `cp`, `warm`, `thumbnails`, `export`; the names are sent to it as they are."""
    with proxy_of(emulator) as proxy:
        mount = mounted(emulator, "--api-url", f"http://{API}", "--proxy", proxy.url)
        copy = tmp_path / "copy.mov"
        subprocess.run(["cp", mount.file_of(REEL), copy], check=True, timeout=60)
        assert_same_bytes(copy, REEL)
        assert set(proxy.asked) == {f"{API}:80", f"{MEDIA}:80"}
        exported = tmp_path / "exported"
        for command, *places in (
            ("warm", mount.file_of(LONG)),
            ("thumbnails", mount.file_of(REEL)),
            ("export", mount.file_of(LONG), exported),
        ):
            done = commands.run(command, *places, home=mount.folder)
            assert done.returncode == 0, done.stderr
        assert_same_bytes(exported / "long.mov", LONG)
        assert set(proxy.asked) == {f"{API}:80", f"{MEDIA}:80"}


@contextlib.contextmanager
def tls(emulator: Emulator, folder: Path) -> Iterator[tuple[TlsFront, Path]]:
    """The library's hosts behind TLS, and the authority that vouches for them."""
    authority = trustme.CA()
    bundle = folder / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with TlsFront() as front:
        front.stand_before(emulator.api_url)
        front.show(authority.issue_cert(API, MEDIA))
        yield front, bundle


def test_tls_is_spoken_with_the_hosts(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Through the tunnel: their certificates are checked, and the proxy sees host and port."""
    emulator = serve(REEL, source_base_url=f"https://{MEDIA}")
    with tls(emulator, tmp_path) as (front, bundle):
        place = "{}:{}".format(*front.address)
        places = {f"{API}:443": place, f"{MEDIA}:443": place}
        with ConnectProxy(places=places) as proxy:
            options = ("--api-url", f"https://{API}", "--proxy", proxy.url)
            mount = mounted(emulator, *options, "--ca-bundle", str(bundle))
            assert_same_bytes(mount.file_of(REEL), REEL)
            assert set(proxy.asked) == set(places)
            front.show(trustme.CA().issue_cert(API, MEDIA))
            done = commands.run("ls", *options, "--ca-bundle", bundle,
                                home=tmp_path, extra={"BACKLOT_API_KEY": emulator.api_key,
                                "BACKLOT_API_SECRET": emulator.api_secret})  # fmt: skip
            assert done.returncode == 4
            assert f"the certificate of {API} is not trusted" in done.stderr
            front.show(trustme.CA().issue_cert(API, MEDIA))


def test_the_password_is_sent_and_nowhere_shown(
    emulator: Emulator, mounted: MountIt, tmp_path: Path
) -> None:
    """Not in the log at debug, the process list, `status`, `stats`, `doctor`; not in its errors."""
    with proxy_of(emulator, credentials=CREDENTIALS) as proxy:
        chosen = profile(tmp_path, emulator, f"http://{USERINFO}@{proxy}")
        # With a variable of its own it has a command line of its own, see `Mount`.
        mount = mounted(emulator, *chosen, "--log-level", "debug", extra={"LANG": "C.UTF-8"})
        assert_same_bytes(mount.file_of(REEL), REEL)
        said = mount.log_text() + Path(f"/proc/{mount.process.pid}/cmdline").read_text()
        for words in (
            ["status", "--json", mount.path],
            ["stats", "--json", mount.path],
            ["ls", *chosen],
            ["doctor", *chosen],
        ):
            done = commands.run(*words, home=mount.folder)
            assert done.returncode == 0, done.stderr
            said += done.stdout + done.stderr
        assert str(mount.path) in said
        assert f"{proxy} connects to {API}; all connections go through it" in said
        wrong = profile(tmp_path, emulator, f"http://{USERINFO}x@{proxy}")
        for words in (["ls", *wrong], ["doctor", *wrong]):
            done = commands.run(*words, home=mount.folder)
            assert done.returncode == 4
            assert "it refuses the name and the password (407)" in done.stdout + done.stderr
            said += done.stdout + done.stderr
        for secret in (PASSWORD, USERINFO, CREDENTIALS, "cm9ib3Q6cGxhbnRl", "robot"):
            assert secret not in said


@pytest.mark.long
def test_a_proxy_that_dies_and_comes_back(emulator: Emulator, mounted: MountIt) -> None:
    """An open file: EIO meanwhile, with the proxy named, and right bytes soon afterwards."""
    with proxy_of(emulator) as proxy:
        mount = mounted(emulator, "--api-url", f"http://{API}", "--proxy", proxy.url)
        mount.expect_log(f"proxy {proxy}")
        with mount.file_of(LONG).open("rb", buffering=0) as opened:
            assert len(opened.read(1000)) == 1000
            port = proxy.address[1]
            proxy.__exit__()
            with pytest.raises(OSError, match=r"Input/output error|timed out"):
                os.pread(opened.fileno(), 1000, 40 * MIB)
            wait_until(
                lambda: f"proxy {proxy}: it refuses the connection" in mount.log_text(),
                "the proxy to be named in the log",
            )
            with proxy_of(emulator, port=port):
                wait_until(lambda: _reads(opened.fileno()), "the reads to work again")
                assert_same_bytes(mount.file_of(LONG), LONG)
                ask(mount.path, "refresh")


def _reads(descriptor: int) -> bool:
    try:
        return len(os.pread(descriptor, 1000, 40 * MIB)) == 1000
    except OSError:
        return False


@pytest.mark.parametrize("background", [False, True])
def test_a_password_on_the_command_line_is_refused(
    emulator: Emulator, tmp_path: Path, background: bool
) -> None:
    """Every user could read it in the process list; the message says where it belongs."""
    chosen = profile(tmp_path, emulator, "http://127.0.0.1:1")
    place = tmp_path / "mnt"
    place.mkdir()
    for words in (
        ["--proxy", f"http://{USERINFO}@127.0.0.1:1"],
        ["-o", f"proxy=http://{USERINFO}@127.0.0.1:1"],
    ):
        flags = [] if background else ["-f"]
        done = commands.run("mount", *flags, *chosen, *words, place, home=tmp_path)
        assert done.returncode == 2
        assert "takes no name and password" in done.stderr
        assert 'proxy = "http://NAME:PASSWORD@HOST:PORT"' in done.stderr
        assert "planted" not in done.stdout + done.stderr


def test_a_proxy_that_is_down_ends_the_mount(emulator: Emulator, tmp_path: Path) -> None:
    """With one line that names it; `doctor` says the same."""
    with closed_port() as port:
        gone = f"127.0.0.1:{port}"
        chosen = profile(tmp_path, emulator, f"http://{USERINFO}@{gone}")
        place = tmp_path / "mnt"
        place.mkdir()
        done = commands.run("mount", *chosen, place, home=tmp_path)
        assert done.returncode == 4
        sentence = f"proxy {gone}: it refuses the connection"
        assert sentence in done.stderr
        assert "is its address right, and is it running?" in done.stderr
        done = commands.run("doctor", *chosen, "--json", home=tmp_path)
    assert done.returncode == 4
    finding = json.loads(done.stdout)["findings"][-1]
    assert (finding["check"], finding["detail"]) == ("proxy", sentence)


@pytest.mark.long
def test_what_the_proxy_does_not_reach(serve: Serve, mounted: MountIt) -> None:
    """A source host that is down is said to be; the files of others are read meanwhile."""
    emulator = serve(REEL, LONG, source_base_url=f"http://{MEDIA}")
    place = emulator.api_url.removeprefix("http://")
    with ConnectProxy(places={f"{API}:80": place, f"{MEDIA}:80": "127.0.0.1:1"}) as proxy:
        mount = mounted(emulator, "--api-url", f"http://{API}", "--proxy", proxy.url)
        mount.expect_log("")
        with pytest.raises(OSError, match=r"Input/output error|timed out"):
            mount.file_of(REEL).read_bytes()
        wait_until(
            lambda: f"proxy {proxy}: it cannot reach {MEDIA}:80 (502)" in mount.log_text(),
            "the host to be named",
        )
        proxy.places[f"{MEDIA}:80"] = place
        wait_until(lambda: _whole(mount), "the reads to work")


def _whole(mount: Mount) -> bool:
    with contextlib.suppress(OSError):
        assert_same_bytes(mount.file_of(REEL), REEL)
        return True
    return False
