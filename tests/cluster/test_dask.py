# SPDX-License-Identifier: Apache-2.0
"""Exports by real Dask workers: one killed, the scheduler restarted, S3 that checks signatures."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, Fault
from backlotfs.export.destination import MANIFEST, WORKSPACE
from tests.cluster.dask_cluster import DaskCluster
from tests.cluster.gcs_server import GcsServer
from tests.cluster.s3_server import FailingProxy, S3Server
from tests.conftest import Serve
from tests.support.commands import PROFILE, command, environment, write_config
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.request_log import calls_by_window, ended_requests

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
CLIPS = [video(f"clip-{number:02}.mov", 300_000 + number) for number in range(40)]
#: More than one part of an upload.
LARGE = video("large.mov", 130 * MIB + 5)
LIBRARY = f"backlot://{PROFILE}/"


class Cluster:
    """An emulator's profile, and commands that use it."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator
        home = folder / "home"
        config = home / ".config" / "backlotfs"
        config.mkdir(parents=True)
        self.environ = environment(home, {"PYTHONWARNINGS": "ignore"})
        write_config(config / "config.toml", emulator)
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start ``backlotfs export`` with these arguments."""
        return self._start("export", *arguments, **environ)

    def _start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environ, **environ},
            start_new_session=True,
        )
        self._started.append(started)
        return started

    def verify(self, place: str, **environ: str) -> tuple[int, str]:
        """The exit code of ``backlotfs verify``, and all that it says."""
        return self._ended(self._start("verify", place, **environ))

    def close(self) -> None:
        """End what still runs, after a test that failed."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its workers, too
                process.communicate()

    def run(self, *arguments: str, **environ: str) -> tuple[int, str]:
        """The exit code of ``backlotfs export``, and all that it says."""
        return self._ended(self.start(*arguments, **environ))

    def _ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        said, _ = process.communicate(timeout=300)
        return process.returncode, said


Account = Callable[..., Cluster]
Started = Callable[..., tuple[Cluster, DaskCluster]]


@pytest.fixture
def account(tmp_path: Path, serve: Serve) -> Iterator[Account]:
    """Assets in; a library of them and its commands out, which are ended after the test."""
    with ExitStack() as opened:

        def made(*assets: EmulatedAsset, **options: Any) -> Cluster:
            library = Cluster(tmp_path, serve(*assets, **options))
            opened.callback(library.close)
            return library

        yield made


@pytest.fixture
def cluster(tmp_path: Path, account: Account) -> Iterator[Started]:
    """Assets in; a library of them and a scheduler without workers out."""
    with ExitStack() as opened:

        def start(*assets: EmulatedAsset) -> tuple[Cluster, DaskCluster]:
            library = account(*assets)
            logs = tmp_path / "dask"
            logs.mkdir()
            return library, opened.enter_context(DaskCluster(logs, library.environ))

        yield start


def assert_complete(folder: Path, assets: list[EmulatedAsset]) -> None:
    """Every file is there, and in a manifest that sha256sum accepts; nothing else is."""
    checked = subprocess.run(
        ["sha256sum", "--quiet", "-c", MANIFEST], cwd=folder, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked
    assert len((folder / MANIFEST).read_text().splitlines()) == len(assets)
    for asset in assets:
        assert_same_bytes(folder / str(asset.original_file_name), asset)
    assert not (folder / WORKSPACE).exists()


def assert_no_secret(text: str, emulator: Emulator) -> None:
    """Neither a signature nor the account's secret."""
    assert "Signature=" not in text
    assert emulator.api_secret not in text


def url_requests(emulator: Emulator) -> int:
    """How many calls of the API for a URL there were."""
    return sum(len(ended_requests(emulator, route=one)) for one in ("streams", "source_file_info"))


def certificates(folder: Path) -> dict[str, str]:
    """A new certificate, which is its own authority, and variables by which Dask uses it."""
    from distributed.security import Security  # make test has it not, and collects this module

    made = Security.temporary()
    folder.mkdir()
    (folder / "ca.pem").write_text(made.tls_ca_file)
    (folder / "cert.pem").write_text(made.tls_client_cert)
    (folder / "key.pem").write_text(made.tls_client_key)
    variable = "DASK_DISTRIBUTED__COMM__TLS"
    found = {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        f"{variable}__CA_FILE": str(folder / "ca.pem"),
    }
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found[f"{variable}__{role}__CERT"] = str(folder / "cert.pem")
        found[f"{variable}__{role}__KEY"] = str(folder / "key.pem")
    return found


def copies_of(folder: Path) -> int:
    """How many files have their names already; a store removes a folder that it empties."""
    try:
        return sum(name.endswith(".mov") for name in os.listdir(folder))
    except FileNotFoundError:
        return 0


def test_workers_of_this_machine_fill_a_folder(account: Account, tmp_path: Path) -> None:
    """And one machine's export of the same folder has nothing left to do."""
    library = account(*CLIPS)
    code, said = library.run(LIBRARY, str(tmp_path / "copy"), "--workers", "2")
    assert code == 0, said
    assert "40 files" in said
    assert_complete(tmp_path / "copy", CLIPS)
    assert url_requests(library.emulator) == len(CLIPS)
    assert_no_secret(said, library.emulator)
    code, said = library.run(LIBRARY, str(tmp_path / "copy"), "--workers", "1")
    assert (code, "40 unchanged" in said) == (0, True), said


def test_a_share_of_the_calls(account: Account, tmp_path: Path) -> None:
    """The command makes no more calls than its share has, however many workers there are."""
    window_s = 3.0
    library = account(*CLIPS, rate_limit=300, rate_window_s=window_s)
    share = ("--api-share", "1/20")
    code, said = library.run(LIBRARY, str(tmp_path / "copy"), "--workers", "2", *share)
    assert code == 0, said
    assert_complete(tmp_path / "copy", CLIPS)
    windows = calls_by_window(library.emulator, window_s)
    assert sum(windows.values()) >= len(CLIPS)
    assert max(windows.values()) <= 15
    assert ended_requests(library.emulator, status=429) == []


def test_a_killed_worker_costs_its_tasks_only(cluster: Started, tmp_path: Path) -> None:
    """The others do them again; no asset needs another URL."""
    library, dask = cluster(*CLIPS)
    for _ in range(3):
        dask.start_worker(threads=2)
    library.emulator.faults.add(Fault.delay(0.5), route="source")
    copy = tmp_path / "copy"
    export = library.start(LIBRARY, str(copy), "--scheduler", dask.address)
    wait_until(lambda: copies_of(copy) >= 3, "some files are copied", timeout_s=120)
    dask.kill_worker()
    said, _ = export.communicate(timeout=300)
    assert export.returncode == 0, said
    assert_complete(copy, CLIPS)
    assert url_requests(library.emulator) == len(CLIPS)
    assert_no_secret(said + dask.log(), library.emulator)


def test_the_address_of_the_dashboard(cluster: Started, tmp_path: Path) -> None:
    """It is named where there is a page, not where Dask only says that bokeh is missing."""
    library, dask = cluster(*CLIPS[:1])
    dask.start_worker()
    arguments = (LIBRARY, str(tmp_path / "copy"), "--scheduler", dask.address)
    code, said = library.run(*arguments)
    assert (code, "dashboard:" in said) == (0, importlib.util.find_spec("bokeh") is not None), said
    (tmp_path / "status").write_text("<!DOCTYPE html><html><title>Dask: Status</title></html>")
    pages = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), pages) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/status"
        code, said = library.run(*arguments, DASK_DISTRIBUTED__DASHBOARD__LINK=address)
        server.shutdown()
    assert (code, f"dashboard: {address}\n" in said) == (0, True), said


def test_a_scheduler_with_tls(account: Account, tmp_path: Path) -> None:
    """Certificates come from the configuration of Dask; one line says what is wrong with them."""
    library = account(*CLIPS)
    ours, others = certificates(tmp_path / "ours"), certificates(tmp_path / "others")
    copy = str(tmp_path / "copy")
    with DaskCluster(tmp_path, {**library.environ, **ours}, "tls") as dask:
        for _ in range(2):
            dask.start_worker()
        for wrong, address, expected in (
            (others, dask.address, "takes the certificates of this machine"),
            ({}, dask.address, "needs certificates"),
            (ours, dask.address.replace("tls:", "tcp:"), "write it like tls://HOST:8786"),
        ):
            code, said = library.run(LIBRARY, copy, "--scheduler", address, **wrong)
            assert (code, expected in said, len(said.strip().splitlines())) == (2, True, 1), said
        assert not (tmp_path / "copy" / MANIFEST).exists()
        code, said = library.run(LIBRARY, copy, "--scheduler", dask.address, **ours)
        assert code == 0, said
        assert_complete(tmp_path / "copy", CLIPS)
        assert_no_secret(said + dask.log(), library.emulator)


def test_a_restarted_scheduler_is_found_again(cluster: Started, tmp_path: Path) -> None:
    """What was under way is sent again to workers that have come to it; the rest stays done."""
    library, dask = cluster(*CLIPS)
    for _ in range(2):
        dask.start_worker(threads=2)
    library.emulator.faults.add(Fault.delay(0.5), route="source")
    copy = tmp_path / "copy"
    export = library.start(LIBRARY, str(copy), "--scheduler", dask.address)
    wait_until(lambda: copies_of(copy) >= 3, "some files are copied", timeout_s=120)
    dask.kill_scheduler()
    dask.start_scheduler()
    dask.start_worker(threads=4)
    said, _ = export.communicate(timeout=300)
    assert export.returncode == 0, said
    assert_complete(copy, CLIPS)
    assert url_requests(library.emulator) == len(CLIPS)


def test_an_export_that_was_killed_continues(cluster: Started, tmp_path: Path) -> None:
    """What the journal has is not copied again."""
    library, dask = cluster(*CLIPS)
    dask.start_worker(threads=2)
    library.emulator.faults.add(Fault.delay(0.3), route="source")
    copy = tmp_path / "copy"
    export = library.start(LIBRARY, str(copy), "--scheduler", dask.address)
    wait_until(lambda: copies_of(copy) >= 5, "some files are copied", timeout_s=120)
    export.kill()
    export.communicate()
    done = copies_of(copy)
    code, said = library.run(LIBRARY, str(copy), "--scheduler", dask.address)
    assert code == 0, said
    assert f"{len(CLIPS) - done} files" in said
    assert f"{done} unchanged" in said
    assert_complete(copy, CLIPS)


def test_an_s3_server_that_fails_one_call_in_twenty(cluster: Started, tmp_path: Path) -> None:
    """It checks signatures; a large object comes in parts from several workers, one is killed."""
    library, dask = cluster(*CLIPS, LARGE)
    buckets = tmp_path / "buckets"
    (buckets / "archive").mkdir(parents=True)
    with S3Server(buckets) as s3, FailingProxy(s3.url) as proxy:
        environ = s3.environ(proxy.url)
        for _ in range(3):
            dask.start_worker(threads=2, **environ)
        arguments = (LIBRARY, "s3://archive/all", "--scheduler", dask.address)
        export = library.start(*arguments, **environ)
        place = buckets / "archive" / "all"
        wait_until(lambda: copies_of(place) >= 10, "some objects are there", timeout_s=120)
        dask.kill_worker()
        said, _ = export.communicate(timeout=300)
        assert export.returncode == 0, said
        assert proxy.failed >= proxy.calls // 20 > 5
        assert_no_secret(said + dask.log(), library.emulator)
        assert "secret-of-the-test" not in said + dask.log()
        code, again = library.run(*arguments, **s3.environ(proxy.url))
        assert (code, "41 unchanged" in again) == (0, True), again
        code, verified = library.verify("s3://archive/all", **s3.environ(proxy.url))
        assert (code, "41 files" in verified, "0 wrong" in verified) == (0, True, True), verified
        damaged = place / str(CLIPS[3].original_file_name)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        code, verified = library.verify("s3://archive/all", **s3.environ(proxy.url))
        assert code == 1, verified
        assert f"{damaged.name}: does not have the bytes of the manifest" in verified
    digests = {line[66:]: line[:64] for line in (place / MANIFEST).read_text().splitlines()}
    for asset in [*CLIPS, LARGE]:
        data = origin_bytes(asset)
        name = str(asset.original_file_name)
        assert digests[name] == hashlib.sha256(data).hexdigest()
        assert asset is CLIPS[3] or (place / name).read_bytes() == data


def test_the_uploads_of_a_killed_export_are_aborted(cluster: Started, tmp_path: Path) -> None:
    """By the next export into the same place, which knows them by the journal."""
    library, dask = cluster(LARGE)
    (tmp_path / "buckets" / "archive").mkdir(parents=True)
    with S3Server(tmp_path / "buckets") as s3:
        environ = s3.environ()
        dask.start_worker(threads=2, **environ)
        library.emulator.faults.add(Fault.delay(2.0), route="source")
        arguments = (LIBRARY, "s3://archive/all", "--scheduler", dask.address)
        export = library.start(*arguments, **environ)
        wait_until(lambda: len(s3.uploads("archive")) == 1, "an upload is begun", timeout_s=120)
        noted = tmp_path / "buckets" / "archive" / "all" / WORKSPACE
        wait_until(
            lambda: any(b'"upload"' in path.read_bytes() for path in noted.glob("journal-*")),
            "the journal has it",
        )
        killed = s3.uploads("archive")
        export.kill()
        export.communicate()
        assert s3.uploads("archive") == killed
        code, said = library.run(*arguments, **environ)
        assert code == 0, said
        assert s3.uploads("archive") == []


def test_ctrl_c_says_how_far_the_export_came(cluster: Started, tmp_path: Path) -> None:
    """The same command continues there; the uploads in parts are none any more."""
    library, dask = cluster(*CLIPS[:6], LARGE)
    (tmp_path / "buckets" / "archive").mkdir(parents=True)
    with S3Server(tmp_path / "buckets") as s3:
        environ = s3.environ()
        dask.start_worker(threads=2, **environ)
        library.emulator.faults.add(Fault.delay(1.0), route="source")
        arguments = (LIBRARY, "s3://archive/all", "--scheduler", dask.address)
        export = library.start(*arguments, **environ)
        wait_until(lambda: len(s3.uploads("archive")) == 1, "an upload is begun", timeout_s=120)
        export.send_signal(signal.SIGINT)
        said, _ = export.communicate(timeout=120)
        assert export.returncode == 130, said
        assert re.search(r"stopped: [0-6] of 7 files complete; run the same command", said)
        assert s3.uploads("archive") == []


def test_ctrl_c_on_a_terminal(account: Account, tmp_path: Path) -> None:
    """It reaches the workers of this machine, too, which say nothing and end with the command."""
    library = account(*CLIPS)
    library.emulator.faults.add(Fault.delay(0.5), route="source")
    copy = tmp_path / "copy"
    export = library.start(LIBRARY, str(copy), "--workers", "2", "-j", "4")
    wait_until(lambda: copies_of(copy) >= 3, "some files are copied", timeout_s=120)
    os.killpg(export.pid, signal.SIGINT)
    said, _ = export.communicate(timeout=120)  # until no process has this output any more
    assert export.returncode == 130, said
    (line,) = filter(None, said.splitlines())
    assert re.fullmatch(
        r"backlotfs: stopped: \d+ of 40 files complete; run the same command .*", line
    )
    code, said = library.run(LIBRARY, str(copy), "--workers", "1")
    assert code == 0, said
    assert_complete(copy, CLIPS)


def test_a_store_of_google(account: Account, tmp_path: Path) -> None:
    """By gcsfs, into an emulator: what was read back is there, and a second export has no work."""
    assets = [*CLIPS[:6], LARGE]
    library = account(*assets)
    with GcsServer("archive") as store:
        arguments = (LIBRARY, "gs://archive/all", "--workers", "2")
        code, said = library.run(*arguments, **store.environ())
        assert (code, "7 files" in said) == (0, True), said
        code, said = library.run(*arguments, **store.environ())
        assert (code, "7 unchanged" in said) == (0, True), said
        code, said = library.verify("gs://archive/all", **store.environ())
        assert (code, "7 files" in said, "0 wrong" in said) == (0, True, True), said
        manifest = store.get(f"all/{MANIFEST}").decode()
        digests = {line[66:]: line[:64] for line in manifest.splitlines()}
        for asset in assets:
            name = str(asset.original_file_name)
            data = store.get(f"all/{name}")
            assert data == origin_bytes(asset)
            assert digests[name] == hashlib.sha256(data).hexdigest()


def test_wrong_credentials_of_a_store_are_one_line(account: Account, tmp_path: Path) -> None:
    """Nothing is copied."""
    library = account(*CLIPS)
    (tmp_path / "buckets" / "archive").mkdir(parents=True)
    with S3Server(tmp_path / "buckets") as s3:
        wrong = s3.environ(secret="another-secret")
        code, said = library.run(LIBRARY, "s3://archive/x", "--workers", "1", **wrong)
    assert code == 2, said
    assert "the destination s3://archive/x cannot be used" in said
    assert len(said.strip().splitlines()) == 1
    assert list((tmp_path / "buckets" / "archive").iterdir()) == []


def test_a_worker_with_another_version_is_one_line(cluster: Started, tmp_path: Path) -> None:
    """And nothing is copied."""
    library, dask = cluster(*CLIPS)
    shadow = tmp_path / "shadow" / "backlotfs-9.9.dist-info"
    shadow.mkdir(parents=True)
    (shadow / "METADATA").write_text("Metadata-Version: 2.1\nName: backlotfs\nVersion: 9.9\n")
    dask.start_worker(PYTHONPATH=str(shadow.parent))
    code, said = library.run(LIBRARY, str(tmp_path / "copy"), "--scheduler", dask.address)
    assert code == 2, said
    assert "has backlotfs 9.9, and this machine" in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "copy" / MANIFEST).exists()


def test_a_worker_without_the_package_is_one_line(cluster: Started, tmp_path: Path) -> None:
    """It is asked by functions of Python's own library."""
    library, dask = cluster(*CLIPS)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(
        "import importlib.metadata as metadata\n"
        "def version(name):\n    raise metadata.PackageNotFoundError(name)\n"
        "version.__module__ = 'importlib.metadata'\n"
        "real, metadata.version = metadata.version, lambda name: "
        "version(name) if name == 'backlotfs' else real(name)\n"
    )
    dask.start_worker(PYTHONPATH=str(tmp_path / "bare"))
    code, said = library.run(LIBRARY, str(tmp_path / "copy"), "--scheduler", dask.address)
    assert code == 2, said
    assert "has no backlotfs; install there" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((LIBRARY, "nosuch://x/y", "--workers", "1"), "cannot be used ("),
        (("backlot://missing/", "copy", "--workers", "1"), "missing"),
        ((LIBRARY, "copy", "--workers", "1", "--api-share", "2"), "'2' is no share"),
        ((LIBRARY, "copy"), "name its scheduler by --scheduler"),
        ((LIBRARY, "copy", "--scheduler", "nonsense"), "scheduler"),
        ((LIBRARY, "copy", "--scheduler", "tcp://127.0.0.1:1"), "no scheduler"),
        ((f"{LIBRARY}nothing", "copy", "--workers", "1"), "nothing"),
        ((LIBRARY, "/proc/copy", "--workers", "1"), "cannot write to /proc/copy"),
    ],
)
def test_bad_input_is_one_line(
    account: Account, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    """It says what to do, and nothing is made."""
    library = account(*CLIPS[:1])
    code, said = library.run(*(str(tmp_path / one) if one == "copy" else one for one in arguments))
    assert code != 0
    assert expected in said
    assert len(said.strip().splitlines()) == 1, said
    assert not (tmp_path / "copy" / MANIFEST).exists()
