# SPDX-License-Identifier: Apache-2.0
"""The server of ``--metrics`` by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from backlotfs.config.listen_address import ListenAddress
from backlotfs.errors import SettingsError
from backlotfs.mount.metrics_server import MetricsServer, check_installed

ANY_PORT = ListenAddress("127.0.0.1", 0)


class Films(Collector):  # type: ignore[misc]  # mypy does not look into prometheus-client
    """A counter with a label, and a gauge."""

    def collect(self) -> Iterator[Metric]:
        """Both with their values."""
        films = CounterMetricFamily("films_total", "Films.", labels=("kind",))
        films.add_metric(("long",), 3)
        films.add_metric(("short",), 0)
        yield films
        yield GaugeMetricFamily("reels", "Reels.", value=2.5)


def test_each_metric_has_its_type_and_values() -> None:
    """In the text format of Prometheus; values of labels that are 0 are there too."""
    with closing(MetricsServer(ANY_PORT, Films())) as server:
        server.start()
        with urlopen(f"http://{server.address}/metrics", timeout=20) as answer:
            text: str = answer.read().decode()
    assert "# HELP films_total Films.\n# TYPE films_total counter\n" in text
    assert 'films_total{kind="long"} 3.0\nfilms_total{kind="short"} 0.0\n' in text
    assert "# HELP reels Reels.\n# TYPE reels gauge\nreels 2.5\n" in text
    assert "process_cpu_seconds_total " in text


def test_an_empty_host_is_all_addresses() -> None:
    """Of IPv4 at least; IPv6 where the machine has it."""
    with closing(MetricsServer(ListenAddress("", 0), Films())) as server:
        server.start()
        with urlopen(f"http://127.0.0.1:{server.address.port}/metrics", timeout=20) as answer:
            assert answer.status == 200


def test_an_address_of_another_machine_is_refused() -> None:
    """TEST-NET-1 belongs to nobody."""
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1:9184 \(.+\); name"):
        MetricsServer(ListenAddress("192.0.2.1", 9184), Films())


def test_the_extra_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(SettingsError, match=r"^--metrics needs an extra; install it: pip install"):
        check_installed()
