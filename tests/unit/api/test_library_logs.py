# SPDX-License-Identifier: Apache-2.0
"""With everything the HTTP libraries can say turned on, hosts and paths are there, no secret is."""

from __future__ import annotations

import http.client
import logging

import pytest
import requests

from backlotfs.api.transport import Transport, open_session
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.errors import RemoteUnavailable
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.log.redaction import MARK, redact_library_logs
from tests.unit.http.raw_server import RawServer, Reply, ok

PLANTED = ("KEYplanted", "SIGNplanted", "TOKENplanted", "COOKIEplanted")
QUERY = "api_key=KEYplanted&expires=1456868965&signature=SIGN'planted&x=SIGNplanted"
ELSEWHERE = Reply(
    b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nSet-Cookie: a=COOKIEplanted\r\n"
    b"Location: http://h/other?X-Amz-Security-Token=TOKENplanted\r\n\r\n"
)


@pytest.fixture
def _talkative(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3, requests and http.client at their most talkative, on a handler that is not ours."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    for name in ("", "urllib3", "requests", "http.client"):
        caplog.set_level(logging.DEBUG, logger=name)


def assert_harmless(caplog: pytest.LogCaptureFixture, *loggers: str) -> None:
    """Each of these said the path and the mark, and no record holds what was planted."""
    said = dict.fromkeys(loggers, "")
    for record in caplog.records:
        text = logging.Formatter("%(name)s %(message)s %(args)s").format(record)
        assert not [secret for secret in PLANTED if secret in text], record.name
        said[record.name] = said.get(record.name, "") + text
    for name in loggers:
        assert f"/v2/assets?{MARK}" in said[name], (name, said)


@pytest.mark.usefixtures("_talkative")
def test_the_api_side(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """requests over urllib3 over http.client, whose prints become records, too."""
    with RawServer(ELSEWHERE) as server, open_session(user_agent="t", pool_size=1) as session:
        session.get(f"{server.url}/v2/assets?{QUERY}", headers={"Authorization": "KEYplanted"})
    assert_harmless(caplog, "urllib3.connectionpool", "http.client")
    assert f"http://h/other?{MARK}" in caplog.text
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("_talkative")
def test_the_source_side(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """http.client alone prints the whole head of a request."""
    redact_library_logs()
    with RawServer(ok(b"abcd")) as server:
        dialer = Dialer(SourcePolicy.of(server.url), client_context)
        port = int(server.url.rpartition(":")[2])
        connection = dialer.connect("http", "127.0.0.1", port, timeout_s=5)
        connection.request("GET", f"/v2/assets?{QUERY}")
        assert connection.getresponse().read() == b"abcd"
        connection.close()
    assert_harmless(caplog, "http.client")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("_talkative")
def test_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the error that leaves the transport, nor what is behind it, nor a traceback."""
    clock = SystemClock()
    with (
        RawServer(Reply(b"", hang_up=True)) as server,
        open_session(user_agent="t", pool_size=1) as session,
        pytest.raises(RemoteUnavailable) as caught,
    ):
        Transport(session, clock).get(
            f"{server.url}/v2/assets?{QUERY}",
            host="h",
            route="/v2/assets",
            deadline=Deadline(5, clock),
        )
    logging.getLogger("backlotfs").error("failed: %r", caught.value, exc_info=caught.value)
    assert_harmless(caplog, "http.client")


@pytest.mark.usefixtures("_talkative")
def test_a_traceback_of_theirs(caplog: pytest.LogCaptureFixture) -> None:
    """One that a library logs itself is redacted for every handler."""
    redact_library_logs()
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(f"http://127.0.0.1:1/v2/assets?{QUERY}", timeout=5)
    logging.getLogger("urllib3.connectionpool").error("lost", exc_info=caught.value)
    assert f"/v2/assets?{MARK}" in caplog.text
    assert not [secret for secret in PLANTED if secret in caplog.text]
