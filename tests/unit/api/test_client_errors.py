# SPDX-License-Identifier: Apache-2.0
"""What each refusal becomes, what is retried, and what is learnt on the way."""

from __future__ import annotations

import logging
import traceback

import pytest

from backlotfs.api.answers import MAX_BODY_BYTES
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    BacklotError,
    ClockSkewed,
    CredentialsRefused,
    DeadlineExceeded,
    ProtocolViolation,
    RemoteUnavailable,
)
from backlotfs.http.backoff import RetryPolicy
from tests.fakes.api import GOOD, SECRET, E, Reply, Step, ask, refused, said, scripted

HTML = Reply(200, b"<html>oops</html>", {"Content-Type": "text/html"})


def test_401_is_never_retried() -> None:
    """A wrong key fails at once, with the server's words."""
    error = refused(scripted(said(401, "Invalid signature.")), CredentialsRefused)
    assert "Invalid signature." in str(error)
    assert not isinstance(error, ClockSkewed)


def test_403_names_the_route() -> None:
    """A key without the right for a route is told which."""
    assert "lacks the right for /v2/labels" in str(
        refused(scripted(said(403, "no")), CredentialsRefused)
    )


@pytest.mark.parametrize(
    "message",
    [
        "bad where",
        "These parameters are missing: api_key, signature, expires.",
        {"description": ["cannot contain hidden chars"]},
    ],
)
def test_other_400_is_a_protocol_violation(message: object) -> None:
    """A request the server cannot read is not an expired one, and is not retried."""
    refused(scripted(said(400, message)), ProtocolViolation)


@pytest.mark.parametrize(
    "trouble",
    [
        said(503, "maintenance"),
        Reply(500, b"<html>", {"Content-Type": "text/html"}),
        Reply(502),
        said(408, "slow"),
        HTML,
        Reply(200, b"", {"Content-Type": "application/json"}),
        Reply(204),
        Reply(200, b'{"embed_code": "EMB'),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_passing_trouble_is_retried(trouble: Step) -> None:
    """5xx, broken connections and unreadable successes are tried again, with growing waits."""
    rig = scripted(trouble, trouble, GOOD, retry=RetryPolicy(first_delay_s=1, jitter=0))
    assert ask(rig) == E
    assert rig.clock.slept_s == [1, 2]


def test_trouble_that_stays() -> None:
    """After the last attempt the error is the server's, with its status."""
    rig = scripted(*[said(503, "maintenance")] * 3, retry=RetryPolicy(max_attempts=3))
    error = refused(rig, RemoteUnavailable)
    assert isinstance(error, RemoteUnavailable)
    assert error.status == 503
    assert "api.example answered 503" in str(error)
    assert "maintenance" in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "HTML instead of JSON"),
        (b" \n", "an empty body"),
        (b'{"embed_code": ', "malformed or cut-off JSON"),
        (b"OK", "not JSON"),
    ],
)
def test_unreadable_answers_that_stay(body: bytes, words: str) -> None:
    """Each kind of success without JSON has its own words."""
    rig = scripted(*[Reply(200, body)] * 2, retry=RetryPolicy(max_attempts=2))
    assert words in str(refused(rig, ProtocolViolation))


@pytest.mark.parametrize("body", [b"null", b"3", b"9" * 5000, b'"x"', b"[]", b"[" * 100_000])
def test_wrong_shapes_are_not_retried(body: bytes) -> None:
    """JSON of the wrong type, or nested without end, is the server's last word."""
    refused(scripted(Reply(200, body)), ProtocolViolation)


def test_invalid_utf8_and_a_byte_order_mark_are_survived() -> None:
    """Bytes that are not UTF-8 become U+FFFD; the rest of the answer counts."""
    rig = scripted(Reply(200, b'\xef\xbb\xbf{"items": [{"id": "x", "name": "a\xffb"}]}'))
    assert rig.client.labels(rig.deadline())[0].name == "a\ufffdb"


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://new.example/v2?signature=abc", "https://new.example,"),
        ("https://new.example:8443/v2", "https://new.example:8443,"),
        ("//new.example/v2", "new.example"),
        ("https://new.example:x/", "another path"),
        ("/login", "another path"),
        ("http://[", "another path"),
        ("", "another path"),
    ],
)
def test_redirects_are_not_followed(location: str, named: str) -> None:
    """The host it points to is named; nothing is sent there."""
    error = refused(scripted(Reply(302, b"", {"Location": location})), ProtocolViolation)
    assert named in str(error)
    where = named.rstrip(",")
    remedy = "set the API URL to the address" if "another" in named else f"write {where} in the API"
    assert remedy in str(error)
    assert "signature" not in str(error)


def test_an_answer_without_end() -> None:
    """More than a page may have is cut off, also when few bytes on the wire unpack to it."""
    import gzip

    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    assert len(bomb) < 100_000
    answer = Reply(200, bomb, {"Content-Encoding": "gzip"})
    rig = scripted(answer, answer)
    with pytest.raises(ProtocolViolation, match="more than 1 MiB"):
        rig.client.get_source(E, deadline=rig.deadline())
    with pytest.raises(ProtocolViolation, match="more than 32 MiB"):
        list(rig.client.iter_pages(deadline=rig.deadline()))


def test_a_deadline_that_has_passed() -> None:
    """Nothing is sent, and the error says what was going on."""
    rig = scripted()
    deadline = Deadline(1.0, rig.clock)
    rig.clock.advance(2.0)
    with pytest.raises(DeadlineExceeded, match=r"GET /v2/labels from api.example"):
        rig.client.labels(deadline)


def test_timeouts_shrink_with_the_deadline() -> None:
    """An attempt may not outlast the operation that it serves."""
    rig = scripted(GOOD, GOOD)
    ask(rig, 3.0)
    ask(rig, 100.0)
    assert rig.adapter.timeouts == [(3.0, 3.0), (4.0, 25.0)]


def test_secrets_stay_out_of_messages_chains_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever echoes the signature or the secret, no text of ours holds them."""
    caplog.set_level(logging.DEBUG)
    signatures: list[str] = []

    def echo(status: int) -> Step:
        def answer(url: str) -> Reply:
            signature = rig.adapter.params()["signature"]
            signatures.append(signature)
            return said(status, f"{url} {signature} {SECRET} signature={signature}")

        return answer

    def broken(url: str) -> Reply:
        signatures.append(rig.adapter.params()["signature"])
        raise ConnectionError(url)

    shown = ""
    for status in (400, 401, 403, 404, 429, 500):
        rig = scripted(*[echo(status)] * 2, retry=RetryPolicy(max_attempts=2), credit_wait_s=0.0)
        with pytest.raises(BacklotError) as caught:
            ask(rig, 1000)
        shown += "".join(traceback.format_exception(caught.value))
    rig = scripted(broken, broken, retry=RetryPolicy(max_attempts=2))
    with pytest.raises(RemoteUnavailable) as caught:
        ask(rig)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shown += "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "trying again" in caplog.text
    for hidden in (SECRET, *signatures):
        assert hidden not in shown
