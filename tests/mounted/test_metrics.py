# SPDX-License-Identifier: Apache-2.0
"""``mount --metrics``: a scrape has what docs/observability/metrics.md lists, and true numbers."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from backlotfs.emulator import Emulator, Library
from backlotfs.mount.control.client import ask
from backlotfs.mount.metrics_server import MOST_CONNECTIONS
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

REEL = video("reel of private name.mov", 3 * MIB + 1)
PAGE = (commands.ROOT / "docs" / "observability" / "metrics.md").read_text("utf-8")
_ROW = re.compile(r"^\| `(backlotfs_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", re.M)
_LABEL = re.compile(r"`(\w+)`: ([^;]+)")


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount of one file with a disk cache of its own, which answers scrapes at a free port."""
    folder = tmp_path_factory.mktemp("metrics")
    options = ("--cache-size=64M", f"--cache-dir={folder / 'cache'}", "--metrics=127.0.0.1:0")
    with Emulator(Library([REEL])) as emulator, Mount(emulator, folder, *options) as mounted:
        yield mounted


def place(mount: Mount) -> tuple[str, int]:
    """Host and port of the scrapes."""
    host, _, port = str(ask(mount.path, "status")["metrics"]).rpartition(":")
    return host, int(port)


def scrape(mount: Mount) -> str:
    """The text of one scrape."""
    host, port = place(mount)
    with urlopen(f"http://{host}:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def families(mount: Mount) -> dict[str, Metric]:
    """The metrics of one scrape by name."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(scrape(mount))
    }


def value(mount: Mount, name: str, **labels: str) -> float:
    """One number of a scrape."""
    (found,) = [
        sample.value
        for sample in families(mount)[name].samples
        if sample.name == name and sample.labels == labels
    ]
    return float(found)


def test_the_tables_are_what_a_scrape_has(mount: Mount) -> None:
    """Names, types, labels with their values, and meanings."""
    mount.file_of(REEL).read_bytes()  # some numbers are not there before
    documented = {
        name: (kind, dict(_LABEL.findall(labels.strip())), meaning)
        for name, kind, labels, meaning in _ROW.findall(PAGE)
    }
    found = {
        name: family for name, family in families(mount).items() if name.startswith("backlotfs_")
    }
    assert set(found) == set(documented)
    for name, family in found.items():
        kind, labels, meaning = documented[name]
        assert (family.type, family.documentation) == (kind, meaning), name
        for sample in family.samples:
            assert set(sample.labels) == set(labels), name
            for label, given in sample.labels.items():
                known = labels[label].split(", ")
                assert given in known or known[-1] == "…", f"{name}: say what {label}={given} is"


def test_the_numbers_are_those_of_stats(mount: Mount) -> None:
    """A file that is read moves the counters as it moves those of ``stats``."""
    mount.file_of(REEL).read_bytes()
    wait_until(lambda: value(mount, "backlotfs_open_files") == 0, "the last close")
    stats: dict[str, Any] = ask(mount.path, "stats")
    assert value(mount, "backlotfs_read_bytes_total") == stats["reads"]["asked_bytes"] > 3 * MIB
    assert value(mount, "backlotfs_reads_total", result="answered") == stats["reads"]["reads"]
    for tier, blocks in stats["reads"]["blocks"].items():
        assert value(mount, "backlotfs_read_blocks_total", tier=tier) == blocks
    assert value(mount, "backlotfs_assets", size="known") == 1
    assert value(mount, "backlotfs_library_bytes") == 3 * MIB + 1
    assert value(mount, "backlotfs_disk_cache_limit_bytes") == 64 * MIB
    assert value(mount, "backlotfs_api_calls_total", host="api", result="ok") >= 2
    assert value(mount, "backlotfs_stale") == 0


def test_no_name_and_no_secret_is_in_a_scrape(mount: Mount) -> None:
    """Who reaches the address learns no file, no asset, no host and nothing of the account."""
    mount.file_of(REEL).read_bytes()
    text = scrape(mount)
    source = mount.emulator.settings
    for private in (
        "private",
        REEL.embed_code,
        source.api_key,
        source.api_secret,
        "http",
        "Expires",
    ):
        assert private not in text


@pytest.mark.long
def test_promtool_takes_a_scrape(mount: Mount) -> None:
    """Names, units and types are by the conventions of Prometheus."""
    mount.file_of(REEL).read_bytes()
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(mount),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_silent_connections_take_few_places(mount: Mount) -> None:
    """More than `MOST_CONNECTIONS` are closed at once, and the places come back."""
    with contextlib.ExitStack() as held:
        for _ in range(MOST_CONNECTIONS):
            silent = held.enter_context(socket.create_connection(place(mount), timeout=20))
            silent.sendall(b"GET /metrics HTTP/1.1\r\n")
        with socket.create_connection(place(mount), timeout=20) as more:
            assert _closed(more)

    def answered() -> bool:
        with contextlib.suppress(OSError):
            return "backlotfs_build_info" in scrape(mount)
        return False

    wait_until(answered, "a place")


def _closed(connection: socket.socket) -> bool:
    """Whether the other side closes without an answer."""
    try:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return connection.recv(1) == b""
    except (BrokenPipeError, ConnectionResetError):
        return True


def test_a_taken_address_is_refused(mount: Mount, tmp_path: Path) -> None:
    """One line says so, and nothing is mounted."""
    host, port = place(mount)
    (tmp_path / "second").mkdir()
    config = commands.write_config(tmp_path / "config.toml", mount.emulator)
    account = ("--config", config, "--profile", commands.PROFILE)
    address = f"{host}:{port}"
    done = commands.run("mount", *account, "--metrics", address, tmp_path / "second", home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        f"backlotfs: --metrics cannot listen on {address} (Address already in use); "
        "name another address"
    )
