# SPDX-License-Identifier: Apache-2.0
"""``mount --traces``: spans of reads come to a collector, and say nothing that they must not."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from backlotfs.emulator import Emulator, Fault, Library
from backlotfs.mount.control.client import ask
from tests.support.deadlines import wait_until
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

REEL = video("reel of private name.mov", 6 * MIB + 1)
REFUSED = video("refused.mov", MIB)


class Collector:
    """Receives spans by OTLP over HTTP.

    :ivar spans: each as its message. :ivar services: the values of ``service.name``.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: Any) -> None:
        """Keep the spans of one request."""
        for resource in request.resource_spans:
            self.services |= {
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, *names: str) -> list[Any]:
        """The spans of these names."""
        return [span for span in self.spans if span.name in names]

    @contextmanager
    def running(self) -> Iterator[Collector]:
        """Receive."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:
    """Of a span, by name."""
    return {
        attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value"))
        for attribute in span.attributes
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that listens."""
    with Collector().running() as running:
        yield running


def test_spans_of_reads(collector: Collector, tmp_path: Path, fuse_binding: str) -> None:
    """Every read, what was fetched for it and ahead of it, by which GETs; all by number."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_SERVICE_NAME": "films",
    }
    options = ("--traces", "--cache-size=0", "--bwlimit=10G", "--fuse-binding", fuse_binding)
    with Emulator(Library([REEL])) as emulator:
        with Mount(emulator, tmp_path, *options, extra=variables) as mount:
            mount.file_of(REEL).read_bytes()
            stats = ask(mount.path, "stats")
        # at its end the mount has sent the last ones
        private = (
            "private",
            "http",
            "127.0.0.1",
            emulator.settings.api_key,
            "Expires",
            "Signature",
        )
    assert collector.services == {"films"}
    reads = [attributes(span) for span in collector.named("read")]
    assert sum(read["backlotfs.bytes"] for read in reads) == stats["reads"]["asked_bytes"]
    for tier, blocks in stats["reads"]["blocks"].items():
        assert sum(read[f"backlotfs.blocks.{tier}"] for read in reads) == blocks
    fetched = {span.span_id: span for span in collector.named("fetch", "prefetch")}
    read_ids = {span.span_id for span in collector.named("read")}
    assert all(span.parent_span_id in read_ids for span in collector.named("fetch"))
    gets = collector.named("GET")
    assert {span.parent_span_id for span in gets} <= set(fetched)
    assert sum(attributes(get)["backlotfs.received_bytes"] for get in gets) == 6 * MIB + 1
    assert {attributes(get)["backlotfs.outcome"] for get in gets} == {"whole"}
    links = {link.span_id for span in collector.named("read") for link in span.links}
    assert links <= set(fetched)
    said = str(collector.spans)
    assert REEL.embed_code in said
    for word in private:
        assert word not in said


def test_a_read_that_fails(collector: Collector, tmp_path: Path) -> None:
    """Its span has the errno, and no text."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with (
        Emulator(Library([REFUSED])) as emulator,
        Mount(emulator, tmp_path, "--traces", "--cache-size=0", extra=variables) as mount,
    ):
        mount.expect_log("read: EACCES")
        mount.file_of(REFUSED).stat()
        emulator.faults.add(Fault.of("access_denied"), route="source")
        with pytest.raises(PermissionError):
            mount.file_of(REFUSED).read_bytes()
    failed = [span for span in collector.named("read") if span.status.code == 2]
    assert failed
    assert {attributes(span)["error.type"] for span in failed} == {"EACCES"}
    assert {span.status.message for span in failed} == {""}
    assert not [event for span in collector.spans for event in span.events if event.attributes]


def test_spans_of_what_hangs_when_the_mount_ends(
    collector: Collector, tmp_path: Path, fuse_binding: str
) -> None:
    """The read ends, and so does the span of what was fetched for it."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        # cat repeats an interrupted read at once, until the mount is gone
        "OTEL_BSP_MAX_QUEUE_SIZE": "1000000",
    }
    options = ("--traces", "--cache-size=0", "--fuse-binding", fuse_binding)
    with (
        Emulator(Library([REEL])) as emulator,
        Mount(emulator, tmp_path, *options, extra=variables) as mount,
    ):
        path = mount.file_of(REEL)
        path.stat()
        emulator.faults.add(Fault.delay(60.0), route="source")
        with subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            emulator.requests.wait_for(
                lambda log: any(
                    entry.range_header != "bytes=0-0" for entry in log.entries(route="source")
                ),
                timeout_s=20,
            )
            assert collector.spans == []
            assert mount.terminate() == 0
    reads, fetches = collector.named("read"), collector.named("fetch")
    assert {attributes(span)["error.type"] for span in (*reads, *fetches)} == {"EINTR"}
    assert {span.parent_span_id for span in fetches} <= {span.span_id for span in reads}
    assert fetches
    assert {span.status.code for span in collector.spans} == {0}


@pytest.mark.long
def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    """Files are read, and the mount ends within its time."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with (
        Emulator(Library([REEL])) as emulator,
        Mount(emulator, tmp_path, "--traces", extra=variables) as mount,
    ):
        mount.expect_log("opentelemetry")
        assert len(mount.file_of(REEL).read_bytes()) == 6 * MIB + 1
        wait_until(lambda: "opentelemetry" in mount.log_text(), "a failed export")
        assert mount.terminate() == 0
