# SPDX-License-Identifier: Apache-2.0
"""The emulator's own life: start, stop, leftovers, log, and a client that goes away."""

from __future__ import annotations

import gc
import http.client
import os
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from backlotfs.emulator import Emulator, EmulatorSettings, Fault, Library, RequestEntry, RequestLog
from backlotfs.emulator.workers import TooManyWaiting, WorkerPool
from tests.emulator.conftest import CLIP, HUGE
from tests.emulator.probe import call, connected, get, target_of
from tests.support.open_files import open_files


def test_stop_with_stalled_requests(library: Library) -> None:
    """Stalled and running transfers end at once; thread and ports are gone."""
    emulator = Emulator(library)
    emulator.start()
    emulator.faults.add(Fault.stall(5), route="source", embed_code=CLIP)
    port = int(emulator.api_url.rpartition(":")[2])
    connections = []
    for code in (CLIP, CLIP, HUGE):  # the last one is never read: its send buffer fills
        connection = socket.create_connection(("127.0.0.1", port))
        target = target_of(emulator.source_url(code))
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connections.append(connection)
    emulator.requests.wait_for(lambda log: log.count(route="source", status=200) == 3)
    began = time.monotonic()
    emulator.stop()
    assert time.monotonic() - began < 20
    assert all(entry.ended for entry in emulator.requests.entries())
    assert "backlot-emulator" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection(("127.0.0.1", port))
    for connection in connections:
        connection.close()
    emulator.stop()


def test_stop_during_a_large_answer(tmp_path: Path) -> None:
    """A file half sent to a client that does not read is no obstacle."""
    with open(tmp_path / "sparse.mov", "wb") as file:
        file.truncate(2**30)
    emulator = Emulator(Library.from_folder(tmp_path))
    emulator.start()
    url = emulator.source_url(emulator.library.ordered()[0].embed_code)
    with connected(url) as connection:
        connection.request("GET", target_of(url))
        response = connection.getresponse()
        assert response.read(10) == bytes(10)
        emulator.stop()
        response.close()
    assert emulator.requests.entries()[0].ended


def test_client_that_hangs_up_during_a_large_answer(tmp_path: Path) -> None:
    """It ends that request and no other, without a word in the log."""
    with open(tmp_path / "sparse.mov", "wb") as file:
        file.truncate(2**30)
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        url = emulator.source_url(emulator.library.ordered()[0].embed_code)
        with connected(url) as connection:
            connection.request("GET", target_of(url))
            response = connection.getresponse()
            response.read(10)
            response.close()
        emulator.requests.wait_for(lambda log: log.entries()[-1].ended)
        assert emulator.requests.entries()[0].bytes_sent < 2**30
        assert get(url, Range="bytes=0-1").status == 206


def test_file_that_shrinks_under_an_answer(tmp_path: Path) -> None:
    """The client gets a short body and a closed connection, not an endless wait."""
    path = tmp_path / "sparse.mov"
    with open(path, "wb") as file:
        file.truncate(2**30)
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        url = emulator.source_url(emulator.library.ordered()[0].embed_code)
        with connected(url) as connection:
            connection.request("GET", target_of(url))
            response = connection.getresponse()
            assert response.read(10) == bytes(10)
            os.truncate(path, 1000)
            with pytest.raises(http.client.IncompleteRead):
                response.read()


def test_file_that_is_overwritten_under_an_answer(tmp_path: Path) -> None:
    """The client gets bytes of one version, and then a closed connection."""
    path, size = tmp_path / "sparse.mov", 2**26
    with open(path, "wb") as file:
        file.truncate(size)
    with Emulator(Library.from_folder(tmp_path)) as emulator:
        url = emulator.source_url(emulator.library.ordered()[0].embed_code)
        with connected(url) as connection:
            connection.request("GET", target_of(url))
            response = connection.getresponse()
            got = response.read(10)
            with open(path, "r+b") as file:
                for _ in range(size // 2**20):
                    file.write(b"x" * 2**20)
            with pytest.raises(http.client.IncompleteRead) as caught:
                response.read()
            assert not (got + caught.value.partial).strip(b"\0")


def test_too_many_wait_for_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the bytes of a small answer are read: the client is told to come again."""
    (tmp_path / "small.mov").write_bytes(b"small")
    run = WorkerPool.run

    async def full_for_reads(pool: WorkerPool, function: Any, *arguments: Any) -> Any:
        if function.__name__ == "read":
            raise TooManyWaiting
        return await run(pool, function, *arguments)

    with Emulator(Library.from_folder(tmp_path)) as emulator:
        url = emulator.source_url(emulator.library.ordered()[0].embed_code)
        with monkeypatch.context() as patched:
            patched.setattr(WorkerPool, "run", full_for_reads)
            answer = get(url)
            assert answer.status == 503
            assert b"SlowDown" in answer.body
        assert get(url).body == b"small"


def test_nothing_is_left_open(library: Library) -> None:
    """Descriptors and threads after many lives are what they were before."""
    gc.collect()  # what an earlier test left would be counted before and not after
    descriptors, threads = open_files(), set(threading.enumerate())
    for _ in range(10):
        with Emulator(library) as emulator:
            assert call(emulator, "/v2/assets").status == 200
    # an earlier test's may end meanwhile
    assert open_files() <= descriptors
    assert set(threading.enumerate()) <= threads


@pytest.mark.long
def test_a_stop_while_clients_connect(library: Library) -> None:
    """A connection that is accepted at the moment of the stop is closed too."""
    for _ in range(20):
        with ExitStack() as clients:
            with Emulator(library) as emulator:
                address = urlsplit(emulator.api_url).hostname, urlsplit(emulator.api_url).port
                for _ in range(3):
                    clients.enter_context(socket.create_connection(address))
            gc.collect()  # pytest turns the warning of a forgotten socket into an error


def test_long_query(emulator: Emulator) -> None:
    """A filter on hundreds of embed codes fits into a request line."""
    codes = ",".join(f"'{index:032d}'" for index in range(500))
    reply = call(emulator, "/v2/assets", where=f"embed_code IN ({codes},'{CLIP}')")
    assert [item["embed_code"] for item in reply.json["items"]] == [CLIP]


def test_clients_that_reset(tmp_path: Path, emulator: Emulator) -> None:
    """Connections torn down in mid-body, on files and made-up bytes, leave no word in the log."""
    with open(tmp_path / "sparse.mov", "wb") as file:
        file.truncate(2**30)
    emulator.library.replace(CLIP, path=tmp_path / "sparse.mov")
    for _ in range(5):
        for code in (CLIP, HUGE):
            with connected(emulator.api_url) as connection:
                connection.request("GET", target_of(emulator.source_url(code)))
                with connection.getresponse() as response:
                    response.read(100_000)
                    linger = struct.pack("ii", 1, 0)  # close sends RST
                    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    emulator.requests.wait_for(lambda log: all(entry.ended for entry in log.entries()))
    assert emulator.requests.count() == 10
    assert call(emulator, "/v2/labels").status == 200


def test_port_in_use(library: Library) -> None:
    """A port that is taken is an error of ``start``, and leaves nothing behind."""
    with Emulator(library) as first:
        port = int(first.api_url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            Emulator(library, EmulatorSettings(port=port)).start()


def test_started_once(library: Library) -> None:
    """Neither twice, nor asked for its address before."""
    emulator = Emulator(library)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = emulator.api_url
    emulator.stop()
    with emulator, pytest.raises(RuntimeError, match="once"):
        emulator.start()


def test_wildcard_address(library: Library) -> None:
    """The URL of a wildcard address is one that can be called."""
    with Emulator(library, EmulatorSettings(host="0.0.0.0")) as emulator:
        assert emulator.api_url.startswith("http://127.0.0.1:")
        assert call(emulator, "/v2/labels").status == 200


def test_log(emulator: Emulator) -> None:
    """Route, asset, status, range, bytes and host of each request; never a query."""
    call(emulator, "/v2/assets", limit="1")
    get(emulator.source_url(CLIP), Range="bytes=5-9")
    emulator.requests.wait_for(lambda log: all(entry.ended for entry in log.entries()))
    listing, source = emulator.requests.entries()
    assert (listing.route, listing.status, listing.embed_code) == ("assets", 200, None)
    assert listing.path_without_query == "/v2/assets"
    assert (source.route, source.status, source.embed_code) == ("source", 206, CLIP)
    assert (source.range_header, source.bytes_sent, source.host) == ("bytes=5-9", 5, "api")
    assert source.path_without_query.startswith(f"/{CLIP}%2F")
    assert source.started_s == emulator.settings.clock()
    assert emulator.requests.count(route="source", embed_code=CLIP, status=206) == 1
    assert emulator.requests.count(status=404) == 0
    emulator.requests.clear()
    assert emulator.requests.entries() == []


def test_wait_for_gives_up() -> None:
    """What never comes is a TimeoutError, not a hang."""
    with pytest.raises(TimeoutError):
        RequestLog().wait_for(lambda log: log.count() == 1, timeout_s=0.01)


def test_log_entries_are_copies() -> None:
    """An entry that was handed out does not change."""
    log = RequestLog()
    entry = log.begin(RequestEntry("assets", "GET", "/v2/assets", None, None, 1, "api", 0.0))
    (copy,) = log.entries()
    log.update(entry, status=200)
    log.end(entry)
    assert (copy.status, copy.ended) == (None, False)
    assert log.entries()[0].ended


def test_parallel_clients(emulator: Emulator) -> None:
    """Many readers at once get their own bytes."""
    content = emulator.library.get(HUGE).content
    assert content is not None
    url = emulator.source_url(HUGE)
    wrong: list[int] = []

    def read(index: int) -> None:
        start = index * 1_000_003
        reply = get(url, Range=f"bytes={start}-{start + 399_999}")
        if reply.body != content.read(start, 400_000):
            wrong.append(index)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
