# SPDX-License-Identifier: Apache-2.0
"""Spans of reads by themselves: which exporters are taken, and what is said if one is missing."""

from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backlotfs.errors import Interrupted, SettingsError
from backlotfs.log.traces import Tracing, start_tracing


def test_a_read_links_to_what_it_waits_for() -> None:
    """A prefetch is no child of a read; a hedge is one, beside the fetch that it hedges."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    ahead = tracing.prefetch("E1", 0, 10)
    read = tracing.read("E1", 5, 10)
    read.waits_for(ahead)
    fetch, hedge = read.fetch("E1", 10, 5), read.fetch("E1", 10, 5, hedge=True)
    for each in (ahead, fetch, hedge):
        each.ended(None)
    read.answered(("memory", "disk"), (1, 0))
    prefetched, fetched, hedged, answered = exporter.get_finished_spans()
    assert prefetched.parent is None
    assert answered.parent is None
    assert fetched.parent == hedged.parent == answered.context
    assert [link.context for link in answered.links] == [prefetched.context]
    assert answered.attributes == {
        "backlotfs.asset": "E1",
        "backlotfs.offset": 5,
        "backlotfs.bytes": 10,
        "backlotfs.blocks.memory": 1,
        "backlotfs.blocks.disk": 0,
    }


def test_a_killed_reader_is_no_error() -> None:
    """Its span has the errno, but not the status of a failure."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Tracing(provider).read("E1", 0, 1).failed(Interrupted("the caller is gone"))
    (span,) = exporter.get_finished_spans()
    assert span.status.is_unset
    assert dict(span.attributes or {})["error.type"] == "EINTR"


def test_what_is_under_way_ends_with_the_mount() -> None:
    """A fetch may be queued for long, or hang; what it says afterwards is of no span."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    read = tracing.read("E1", 0, 1)
    fetch, ahead = read.fetch("E1", 0, 1), tracing.prefetch("E1", 1, 1)
    fetch.ended(None)
    read.answered(("memory",), (1,))
    hangs = tracing.read("E1", 1, 1)
    tracing.close()
    ended = exporter.get_finished_spans()
    assert sorted(span.name for span in ended) == ["fetch", "prefetch", "read", "read"]
    errors = [(span.attributes or {}).get("error.type") for span in ended]
    assert errors == [None, None, "EINTR", "EINTR"]
    assert all(span.status.is_unset for span in ended)
    hangs.waits_for(ahead)
    with ahead.running():
        pass
    ahead.ended(None)
    hangs.failed(Interrupted("the mount ends"))
    assert exporter.get_finished_spans() == ended


def test_the_extra_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match=r"^--traces needs an extra; install it: pip install"):
        start_tracing()


def test_an_exporter_that_nobody_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names it, and the variable."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(SettingsError, match="has no exporter pigeon; install its package, or set"):
        start_tracing()


def test_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """``none`` is one that sends nothing."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    start_tracing().close()
