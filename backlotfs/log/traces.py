# SPDX-License-Identifier: Apache-2.0
"""Spans of reads for OpenTelemetry: ``mount --traces``.

A read of the kernel is a span ``read``. Each run of adjacent blocks that is fetched for the read is
a child span ``fetch``, and each HTTP request of the fetch is a child span ``GET`` of it. A fetch
ahead of reads is a span ``prefetch`` in a trace of its own. A read that waits for a prefetch has a
link to its span.

The attributes are numbers, booleans, embed codes and fixed words. They contain no URL, no name of a
host or a file, and no text of an error, because spans are sent to other machines.

Every span ends: when its read or fetch ends, or, if a fetch is still queued or running, when the
mount ends.

The variables ``OTEL_…`` name the receiver of the spans. The OpenTelemetry library reads them.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from backlotfs import __version__
from backlotfs.errors import BacklotError, Interrupted, SettingsError, install_extra

#: Longest time that the end of a mount waits for the last spans to be sent.
LAST_SPANS_S = 3.0


class ReadSpan:
    """The span of a read of the kernel. `answered` or `failed` ends it."""

    __slots__ = ("_span", "_tracing")

    def __init__(self, tracing: Tracing, span: Any) -> None:
        self._tracing = tracing
        self._span = span

    def fetch(self, asset: str, offset: int, size: int, *, hedge: bool = False) -> FetchSpan:
        """Begin the span of bytes that are fetched for this read."""
        return self._tracing.begin_fetch("fetch", asset, offset, size, read=self, hedge=hedge)

    def waits_for(self, prefetch: FetchSpan) -> None:
        """Note that the read waits for blocks of a running prefetch."""
        if self._span.is_recording():
            self._span.add_link(prefetch.context)

    def answered(self, tiers: Sequence[str], blocks: Sequence[int]) -> None:
        """End the span of a read that got its bytes.

        :param blocks: the number of blocks from each of the ``tiers``.
        """
        numbers = {
            f"backlotfs.blocks.{tier}": count for tier, count in zip(tiers, blocks, strict=True)
        }
        self._tracing.end(self._span, None, numbers)

    def failed(self, error: Exception) -> None:
        """End the span of a read that failed; for `Interrupted` its status is not "error"."""
        self._tracing.end(self._span, error)

    @property
    def span(self) -> Any:
        """The span object of the OpenTelemetry library."""
        return self._span


class FetchSpan:
    """The span of a fetch of adjacent bytes. `ended` ends it."""

    __slots__ = ("_span", "_tracing", "read")

    def __init__(self, tracing: Tracing, span: Any, read: ReadSpan | None) -> None:
        """:param read: the read that needs the bytes; None: this is a prefetch."""
        self._tracing = tracing
        self._span = span
        self.read = read

    @property
    def context(self) -> Any:
        """The span context, which identifies the span."""
        return self._span.get_span_context()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make it the parent of spans that this thread begins; note when the fetch began to run."""
        from opentelemetry import trace

        if self._span.is_recording():  # otherwise the mount has ended the span
            self._span.add_event("runs")
        with trace.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        ):
            yield

    def ended(self, error: Exception | None) -> None:
        """End the span."""
        self._tracing.end(self._span, error)


class Tracing:
    """Makes spans and sends them. Any thread may call it."""

    def __init__(self, provider: Any) -> None:
        """:param provider: a `TracerProvider` of the SDK."""
        self._provider = provider
        self._tracer = provider.get_tracer("backlotfs", __version__)
        self._lock = threading.Lock()
        self._under_way: set[Any] = set()

    def read(self, asset: str, offset: int, size: int) -> ReadSpan:
        """Begin the span of a read. :param asset: its embed code."""
        from opentelemetry.trace import SpanKind

        attributes = {"backlotfs.asset": asset, "backlotfs.offset": offset, "backlotfs.bytes": size}
        return ReadSpan(self, self._begin("read", _no_parent(), SpanKind.SERVER, attributes))

    def prefetch(self, asset: str, offset: int, size: int) -> FetchSpan:
        """Begin the span of bytes that no read has asked for yet."""
        return self.begin_fetch("prefetch", asset, offset, size)

    def begin_fetch(
        self,
        name: str,
        asset: str,
        offset: int,
        size: int,
        *,
        read: ReadSpan | None = None,
        hedge: bool = False,
    ) -> FetchSpan:
        """Begin the span of a fetch. The fetch is queued until `FetchSpan.running` is called."""
        from opentelemetry import trace

        context = _no_parent() if read is None else trace.set_span_in_context(read.span)
        attributes = {
            "backlotfs.asset": asset,
            "backlotfs.offset": offset,
            "backlotfs.bytes": size,
            "backlotfs.hedge": hedge,
        }
        span = self._begin(name, context, trace.SpanKind.INTERNAL, attributes)
        return FetchSpan(self, span, read)

    def _begin(self, name: str, context: Any, kind: Any, attributes: dict[str, Any]) -> Any:
        span = self._tracer.start_span(name, context=context, kind=kind, attributes=attributes)
        with self._lock:
            self._under_way.add(span)
        return span

    def end(
        self, span: Any, error: Exception | None, numbers: Mapping[str, int] | None = None
    ) -> None:
        """End a span, unless it has ended already.

        :param numbers: more attributes.
        """
        with self._lock:
            if span not in self._under_way:
                return
            self._under_way.remove(span)
        if numbers is not None:
            span.set_attributes(numbers)
        if error is not None:
            _note_error(span, error)
        span.end()

    def request(
        self,
        *,
        seconds: float,
        first_byte_s: float | None,
        received_bytes: int,
        new_connection: bool,
        outcome: str,
        host_class: str,
    ) -> None:
        """Add the span of a GET that this thread has just ended, if its fetch has a span.

        :param host_class: ``near``, ``far`` or ``unknown``.
        """
        from opentelemetry import trace

        if not trace.get_current_span().is_recording():
            return
        now_ns = time.time_ns()
        attributes: dict[str, str | bool | int | float] = {
            "backlotfs.received_bytes": received_bytes,
            "backlotfs.new_connection": new_connection,
            "backlotfs.outcome": outcome,
            "backlotfs.host_class": host_class,
        }
        if first_byte_s is not None:
            attributes["backlotfs.first_byte_s"] = first_byte_s
        span = self._tracer.start_span(
            "GET",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=now_ns - int(seconds * 1e9),
        )
        span.end(now_ns)

    def close(self) -> None:
        """End all spans and send the last ones.

        Wait for this at most `LAST_SPANS_S`, because the collector may not answer.
        """
        with self._lock:
            left = list(self._under_way)
        for span in left:
            self.end(span, Interrupted("the mount ends"))
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(LAST_SPANS_S)


def _no_parent() -> Any:
    from opentelemetry.context import Context

    return Context()


def _note_error(span: Any, error: Exception) -> None:
    from opentelemetry.trace import StatusCode

    number = error.errno if isinstance(error, BacklotError) else errno.EIO
    span.set_attribute("error.type", errno.errorcode.get(number, str(number)))
    if not isinstance(error, Interrupted):
        span.set_status(StatusCode.ERROR)


def start_tracing() -> Tracing:
    """Start to send spans, with the settings in the variables ``OTEL_…``.

    Call it after the last fork.

    :raises SettingsError: the extra ``otel`` or an exporter that a variable names is not installed,
        or an exporter refuses its settings.
    """
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise SettingsError(
            f"--traces needs an extra; install it: {install_extra('otel')}"
        ) from None
    ours = Resource({"service.name": "backlotfs", "service.version": __version__})
    resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        if name.strip() not in ("", "none"):
            provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())))
    return Tracing(provider)


def _exporter(name: str) -> Any:
    """:raises SettingsError: no installed package has it, or it refuses its settings."""
    from importlib.metadata import entry_points

    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
        )
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
    if found is None:
        raise SettingsError(
            f"--traces has no exporter {name}; install its package, or set OTEL_TRACES_EXPORTER"
        )
    try:
        return found.load()()
    except Exception as error:  # noqa: BLE001  # packages raise different classes
        # The text of the error may contain a header, or an address with a password.
        raise SettingsError(
            f"--traces: the exporter {name} refuses its settings ({type(error).__name__}); "
            "look at the variables OTEL_EXPORTER_…"
        ) from None
