# SPDX-License-Identifier: Apache-2.0
"""The table in `backlotfs.source.signed_get`, row by row."""

from __future__ import annotations

import pytest

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    CircuitOpen,
    ContentChanged,
    DeadlineExceeded,
    Interrupted,
    InvalidRangeResponse,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
)
from backlotfs.http.address_policy import SourceRefused
from backlotfs.http.pool import RangeAnswer
from backlotfs.source.host_shares import HostShares, Place
from backlotfs.source.signed_get import MAX_EXPIRED, MAX_REDIRECTS, GetRecord, Outcome, SignedGet
from tests.fakes.clocks import ManualClock
from tests.fakes.source_host import (
    DENIED,
    EXPIRED,
    ORIGIN,
    Asked,
    ScriptedAnswer,
    Source,
    Step,
    partial,
)

WANTED = ByteRange(0, 4)
FINE = partial(WANTED, 4, b"abcd")


class Head:
    """The `Reading` of a test: `WANTED`, and what the answer says before its body."""

    current: bool = False
    priority: Priority | None = None
    turn: Turn | None = None
    new_connection: bool = False
    reached: int = 0

    def __init__(self, if_match: str | None) -> None:
        self.if_match = if_match

    def wanted(self) -> ByteRange:
        return WANTED

    def take(self, answer: RangeAnswer) -> RangeAnswer:
        return answer


def got(get: SignedGet, deadline: Deadline, if_match: str | None = None) -> RangeAnswer:
    """The answer to a GET of E1."""
    return get.read("E1", Head(if_match), deadline)


def opened(found: RangeAnswer) -> bool:
    """Whether it is `FINE` that was opened."""
    return (found.status, found.headers) == (FINE.status, FINE.headers)


def answer(status: int, body: bytes | Exception = b"", **headers: str) -> ScriptedAnswer:
    """Any other answer."""
    return ScriptedAnswer(status, headers, body)


def redirect(location: str, status: int = 302) -> ScriptedAnswer:
    """To somewhere."""
    return answer(status, location=location)


@pytest.mark.parametrize("status", [200, 206, 416])
def test_what_the_caller_validates(status: int) -> None:
    """200, 206 and 416 are given to the caller unread, and closed behind it."""
    source = Source(answer(status, b"body"))
    found = got(source.signed_get, source.deadline(), if_match='"v1"')
    assert (found.status, found.read(4)) == (status, b"body")
    assert source.pool.asked == [("http://origin.example/E1?n=1", WANTED, '"v1"')]
    assert source.all_closed


def test_expired_is_renewed_and_costs_no_patience() -> None:
    """As often as `MAX_EXPIRED`, without a pause: a short-lived URL can die in a queue."""
    source = Source(*[answer(403, EXPIRED) for _ in range(MAX_EXPIRED)], FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.numbers == [str(number) for number in range(1, MAX_EXPIRED + 2)]
    assert source.clock.slept_s == []
    assert all(refused.closed for refused in source.pool.given[:-1])


def test_expired_for_ever() -> None:
    """New URLs that are dead on arrival mean a wrong clock: said so, after a bounded number."""
    source = Source(*[answer(403, EXPIRED) for _ in range(MAX_EXPIRED + 1)])
    with pytest.raises(DeadlineExceeded, match="clock"):
        got(source.signed_get, source.deadline())
    assert len(source.pool.asked) == MAX_EXPIRED + 1
    assert source.all_closed


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (403, DENIED, SourceDenied, "refused: AccessDenied"),
        (403, b"<html>Forbidden</html>", SourceDenied, "refused: 403"),
        (401, b"", SourceDenied, "refused: 401"),
        (404, b"", SourceGone, "gone"),
        (410, b"", SourceGone, "gone"),
    ],
)
def test_refused_twice(status: int, body: bytes, error: type[Exception], says: str) -> None:
    """A fresh URL is tried once; then it is an answer."""
    source = Source(answer(status, body), answer(status, body))
    with pytest.raises(error, match=says):
        got(source.signed_get, source.deadline())
    assert source.numbers == ["1", "2"]
    assert source.all_closed


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refused_once(status: int) -> None:
    """A fresh URL may cure it: the object was moved, or the key was rotated."""
    source = Source(answer(status, DENIED), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.numbers == ["1", "2"]


@pytest.mark.parametrize("status", [412, 400, 501])
def test_precondition_failed(status: int) -> None:
    """Asked again without ``If-Match``, at once; a host that then answers gets none any more.

    Some S3-compatible hosts answer 400 or 501 to headers that they do not know.
    """
    source = Source(answer(status), FINE, FINE)
    for _ in range(2):
        assert opened(got(source.signed_get, source.deadline(), if_match='"v1"'))
    assert [asked.if_match for asked in source.pool.asked] == ['"v1"', None, None]
    assert source.numbers == ["1"] * 3
    assert source.clock.slept_s == []
    assert source.all_closed


def test_a_412_that_was_right() -> None:
    """The version was another one: the host is asked for the next version as every other."""

    class Other(Head):
        def take(self, answer: RangeAnswer) -> RangeAnswer:
            raise ContentChanged(f"E1 was replaced ({answer.status})")

    source = Source(answer(412), FINE, FINE)
    with pytest.raises(ContentChanged):
        source.signed_get.read("E1", Other('"v1"'), source.deadline())
    assert opened(got(source.signed_get, source.deadline(), if_match='"v2"'))
    assert [asked.if_match for asked in source.pool.asked] == ['"v1"', None, '"v2"']


def test_a_412_without_a_precondition() -> None:
    """One node of many may answer it; a host that keeps to it cannot be read."""
    source = Source(answer(412), answer(412), FINE)
    assert opened(got(source.signed_get, source.deadline(), if_match='"v1"'))
    assert source.clock.slept_s == [1.0]
    source = Source(*[answer(412)] * 3)
    with pytest.raises(InvalidRangeResponse, match="412"):
        got(source.signed_get, source.deadline())
    assert source.all_closed


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_trouble_is_tried_again(status: int) -> None:
    """After a backoff that doubles, with the same URL."""
    source = Source(answer(status), answer(status), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.clock.slept_s == [1.0, 2.0]
    assert source.numbers == ["1", "1", "1"]


def test_connection_trouble_is_tried_again() -> None:
    """Until attempts are spent; the last error is the one that is raised."""
    trouble = [RemoteUnavailable(f"source host o: {word}") for word in ("one", "two", "three")]
    source = Source(trouble[0], FINE)
    assert opened(got(source.signed_get, source.deadline()))
    source = Source(*trouble)
    with pytest.raises(RemoteUnavailable, match="three"):
        got(source.signed_get, source.deadline())
    assert source.clock.slept_s == [1.0, 2.0]


def test_attempts_spent_keep_the_status() -> None:
    """For the log: which status it was."""
    source = Source(*[answer(503)] * 3)
    with pytest.raises(RemoteUnavailable, match="answers 503 for E1") as caught:
        got(source.signed_get, source.deadline())
    assert caught.value.status == 503


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_answers_others_has_only_few_places(status: int) -> None:
    """It may refuse as often as there is time, if it sends bytes for another GET each time."""
    source = Source(max_attempts=3)

    def refused(_asked: Asked) -> ScriptedAnswer:
        source.clock.advance(0.01)
        source.pool.script.appendleft(partial(WANTED, 4, b"abcd"))
        assert got(source.signed_get, source.deadline()).status == 206
        return answer(status)

    source.pool.script.extend([*[refused] * 5, FINE])
    assert opened(got(source.signed_get, source.deadline()))
    assert source.clock.slept_s == [1.0, 2.0, 4.0, 8.0, 8.0]
    source.pool.script.extend([refused] * 20)
    with pytest.raises(RemoteUnavailable, match=f"answers {status}"):
        got(source.signed_get, source.deadline())
    source.pool.script.clear()
    source.pool.script.extend(answer(status) for _ in range(3))
    with pytest.raises(RemoteUnavailable, match=f"answers {status}"):
        got(source.signed_get, source.deadline())


@pytest.mark.parametrize("status", [403, 503])
def test_an_error_body_that_is_cut_changes_nothing(status: int) -> None:
    """The status was there: it is judged, and asked again, as if the body were empty."""
    cut = answer(status, RemoteUnavailable("source host o: the connection was cut"))
    source = Source(cut, FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert cut.closed


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_whose_reason_does_not_come_is_none(status: int) -> None:
    """It may have said "expired", and a source that is denied is not asked for again for long."""
    cut = RemoteUnavailable("source host o: the connection was cut")
    source = Source(answer(status, cut), answer(status, cut), max_attempts=1)
    with pytest.raises(RemoteUnavailable, match="was cut"):
        got(source.signed_get, source.deadline())
    assert source.numbers == ["1", "2"]
    assert source.all_closed


def test_no_time_for_another_attempt() -> None:
    """A backoff that would outlast the deadline is not begun."""
    source = Source(answer(503))
    with pytest.raises(RemoteUnavailable):
        got(source.signed_get, source.deadline(0.5))
    assert source.clock.slept_s == []


def test_deadline_spent_before_the_first_attempt() -> None:
    """Nothing is sent."""
    source = Source()
    with pytest.raises(DeadlineExceeded, match="E1"):
        got(source.signed_get, source.deadline(0))
    assert source.pool.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/moved%2Fto?n=x&", "http://origin.example/moved%2Fto?n=x&"])
def test_a_redirect_on_the_same_host_is_followed(status: int, location: str) -> None:
    """Relative or absolute, byte for byte."""
    source = Source(redirect(location, status), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.pool.asked[1].url == "http://origin.example/moved%2Fto?n=x&"


@pytest.mark.parametrize("start", ["", "http://origin.example"])
def test_a_redirect_with_bytes_that_no_url_has(start: str) -> None:
    """The bytes that the host sent, which http.client decodes as Latin-1, are encoded."""
    source = Source(redirect(f"{start}/Zo\xc3\xab \xe9?n=%2F"), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.pool.asked[1].url == "http://origin.example/Zo%C3%AB%20%E9?n=%2F"


@pytest.mark.parametrize(
    ("location", "error"),
    [("http://elsewhere.example/a", SourceRefused), ("", ProtocolViolation)],
)
def test_a_redirect_that_is_not_followed(location: str, error: type[Exception]) -> None:
    """The rules are `RedirectChain`'s; nothing more is sent."""
    source = Source(redirect(location), max_attempts=1)
    with pytest.raises(error, match=r"origin\.example redirects"):
        got(source.signed_get, source.deadline())
    assert len(source.pool.asked) == 1
    assert source.all_closed


def test_a_redirect_to_a_listed_host_is_followed() -> None:
    """The signed URL's query does not go along; range and validator do."""
    source = Source(redirect("https://cdn.example/b?x=1"), FINE)
    assert opened(got(source.get("*.example"), source.deadline(), if_match='"v1"'))
    assert source.pool.asked[1] == ("https://cdn.example/b?x=1", WANTED, '"v1"')


def test_a_source_that_policy_refuses_is_not_asked_again() -> None:
    """At once: neither a pause nor a new URL would change it."""
    source = Source(SourceRefused("source host h has a private address"))
    with pytest.raises(SourceRefused):
        got(source.signed_get, source.deadline())
    assert source.clock.slept_s == []
    assert len(source.pool.asked) == 1


def test_redirects_end() -> None:
    """New places for ever are left after `MAX_REDIRECTS`."""
    source = Source(
        *[redirect(f"/{number}") for number in range(MAX_REDIRECTS + 1)], max_attempts=1
    )
    with pytest.raises(ProtocolViolation, match="redirects"):
        got(source.signed_get, source.deadline())
    assert len(source.pool.asked) == MAX_REDIRECTS + 1


def test_after_a_redirect_fails_the_signed_url_is_asked_again() -> None:
    """The detour is forgotten with its failure, whether it answers or not."""
    trouble = RemoteUnavailable("source host o: the connection was cut")
    source = Source(redirect("/moved"), answer(503), redirect("/moved"), trouble, FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.numbers == ["1", "", "1", "", "1"]


def test_after_a_redirect_is_refused_a_fresh_url_is_asked() -> None:
    """Not the place that it led to: that was signed with the old one."""
    source = Source(redirect("/moved"), answer(403, EXPIRED), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.numbers == ["1", "", "2"]


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 207, 226, 304, 400, 405, 501])
def test_anything_else_is_a_violation(status: int) -> None:
    """No other status says which bytes of the object, as they are, its body holds."""
    source = Source(*[answer(status, b"abcd")] * 3)
    with pytest.raises(ProtocolViolation, match=f"answers {status} to a ranged GET of E1"):
        got(source.signed_get, source.deadline())
    assert source.all_closed


def test_a_pause_that_the_host_asks_for_is_kept() -> None:
    """In seconds or as a moment on the host's own clock; the backoff comes on top."""
    dated = {
        "date": "Tue, 01 Mar 2016 21:49:25 GMT",
        "retry-after": "Tue, 01 Mar 2016 21:49:55 GMT",
    }
    source = Source(ScriptedAnswer(429, {"retry-after": "7"}), ScriptedAnswer(503, dated), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.clock.slept_s == [8.0, 32.0]


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_beyond_the_deadline_is_not_begun(status: int) -> None:
    """ETIMEDOUT at once, after one GET."""
    source = Source(ScriptedAnswer(status, {"retry-after": "60"}))
    with pytest.raises(DeadlineExceeded, match=f"answers {status} .* asks for a pause of 60 s"):
        got(source.signed_get, source.deadline(60.0))
    assert source.clock.slept_s == []
    assert source.all_closed


@pytest.mark.parametrize("asked", ["", "soon", "-5", "Tue, 01 Mar 2016"])
def test_a_pause_that_makes_no_sense_is_none(asked: str) -> None:
    """The backoff, as without it."""
    source = Source(ScriptedAnswer(503, {"retry-after": asked}), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.clock.slept_s == [1.0]


def test_the_meter_is_told_of_every_get_once() -> None:
    """With how it ended: what the host sent away, what the line cut, and what says nothing."""
    cut = RemoteUnavailable("source host o: the connection was cut")
    down = CircuitOpen("source host o: it refuses the connection", retry_after_s=0.5)
    script: list[Step] = [answer(503), answer(403, EXPIRED), redirect("/moved"), cut, down, FINE]
    source = Source(*script, max_attempts=9)
    assert opened(got(source.signed_get, source.deadline()))
    assert [record.outcome for record in source.meter.records] == [
        Outcome.OVERLOADED,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.CUT,
        Outcome.DROPPED,
        Outcome.WHOLE,
    ]
    assert len(source.meter.begun) == 6
    unanswered = source.meter.records[3]
    assert (unanswered.host, unanswered.first_byte_s, unanswered.received_bytes) == ("", None, 0)


class _Receiving(Head):
    """Receives four bytes, and pauses on purpose between them and the end of the GET."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(if_match=None)
        self._clock = clock

    def take(self, answer: RangeAnswer) -> RangeAnswer:
        self._clock.advance(0.1)
        answer.read_into([memoryview(bytearray(4))], 1.0)
        self._clock.advance(5.0)
        answer.rested_s += 5.0
        return answer


def test_the_record_of_a_whole_get() -> None:
    """Times count from the start of the GET, and a pause that we make is not the host's."""

    def slow(_asked: object) -> ScriptedAnswer:
        source.clock.advance(0.03)
        return partial(WANTED, 4, b"abcd")

    source = Source(slow)
    began_s = source.clock.monotonic()
    source.signed_get.read("E1", _Receiving(source.clock), source.deadline())
    (record,) = source.meter.records
    assert source.meter.begun == [("E1", began_s)]
    assert record.seconds == pytest.approx(0.13)
    assert record.first_byte_s == pytest.approx(0.03)
    assert record._replace(seconds=0.13, first_byte_s=0.03) == GetRecord(
        ORIGIN, "E1", False, began_s, 0.03, 0.13, 4, Outcome.WHOLE
    )


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Interrupted("nobody waits"), Outcome.DROPPED),
        (ContentChanged("replaced"), Outcome.REFUSED),
        (ProtocolViolation("false"), Outcome.REFUSED),
        (DeadlineExceeded("too late"), Outcome.CUT),
        (RuntimeError("a fault of ours"), Outcome.CUT),
    ],
)
def test_the_record_of_a_get_that_its_reading_ends(error: Exception, outcome: Outcome) -> None:
    """It is told by the error, and the answer is closed."""

    class Ending(Head):
        def take(self, answer: RangeAnswer) -> RangeAnswer:  # noqa: ARG002
            raise error

    source = Source(FINE)
    with pytest.raises(type(error)):
        source.signed_get.read("E1", Ending(None), source.deadline())
    assert [record.outcome for record in source.meter.records] == [outcome]
    assert source.all_closed


def test_an_expired_token_is_400_and_cured_by_a_new_url() -> None:
    """What S3 answers when the session behind the signature is over."""
    body = b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"
    source = Source(answer(400, body), FINE)
    assert opened(got(source.signed_get, source.deadline()))
    assert source.numbers == ["1", "2"]
    assert source.clock.slept_s == []


class RecordedShares(HostShares):
    """Keeps the hosts that places were taken at."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: list[str] = []

    def take(self, host: str, timeout_s: float) -> Place:
        """As `HostShares.take`."""
        self.hosts.append(host)
        return super().take(host, timeout_s)


def test_a_host_has_one_share_however_it_is_spelt() -> None:
    """A host that redirects to itself by other spellings gains no further places."""
    spelt = ["http://ORIGIN.example/a", "http://origin.example:80/b", "http://origin.example./c"]
    source = Source(*map(redirect, spelt), FINE)
    shares = RecordedShares()
    assert opened(got(source.get(shares=shares), source.deadline()))
    assert shares.hosts == ["origin.example:80"] * 4
