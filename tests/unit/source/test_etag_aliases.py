# SPDX-License-Identifier: Apache-2.0
"""Which answers of which hosts are of one version: each row over real connections."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import random
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.errors import BacklotError, ContentChanged, DeadlineExceeded, InvalidRangeResponse
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from backlotfs.source.etag_aliases import GETS_PER_NAME, EtagAliases, SeenVersion
from backlotfs.source.range_reader import RangeReader, SourceProbe
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion
from tests.fakes.source_host import Meter
from tests.support.node_host import (
    OLD_S,
    Choice,
    Node,
    NodeHost,
    after,
    by_connection,
    by_request,
    http_date,
)

CODE = "E1"
SIZE = 300_000
DATA = random.Random(13).randbytes(SIZE)
STEP = 60_000
CLOCK = SystemClock()
NOW_S = time.time()


def changed_at(*places: int) -> bytes:
    """The data with other bytes at these places."""
    data = bytearray(DATA)
    for place in places:
        data[place] ^= 0xFF
    return bytes(data)


A = Node(DATA, ('"inode-a"',))
B = Node(DATA, ('"inode-b"',))
C = Node(DATA, ('"inode-c"',))
EIGHT = [Node(DATA, (f'"inode-{number}"',)) for number in range(8)]
STRONG, WEAK = Node(DATA, ('"e"',)), Node(DATA, ('W/"e"',))
BARE = Node(DATA)
SAME_SECOND = http_date(OLD_S + 59)
LATER = http_date(OLD_S + 1)
RFC_850 = "Monday, 07-Oct-13 10:54:00 GMT"
ASCTIME = "Mon Oct  7 10:54:00 2013"
V2 = replace(B, data=random.Random(14).randbytes(SIZE))


class Source(UrlResolver):
    """One asset at a host: its URL, its probe, its reader. Close it."""

    def __init__(self, host: NodeHost, aliases: EtagAliases | None = None) -> None:
        self.url = f"{host.url}/{CODE}?Signature=s"
        self.known: SourceVersion | None = None
        self.aliases = aliases or EtagAliases(CLOCK)
        policy = SourcePolicy.of("http://127.0.0.1", [])
        self._pool = ConnectionPool(Dialer(policy, client_context), user_agent="backlotfs/test")
        retry = RetryPolicy(max_attempts=4, first_delay_s=0.0)
        get = SignedGet(self, self._pool, CLOCK, retry, policy=policy, meter=Meter())
        self._probe = SourceProbe(get, aliases=self.aliases, known=lambda _code: self.known)
        self._reader = RangeReader(get, CLOCK, aliases=self.aliases)

    def resolve(self, embed_code: str, deadline: Deadline, **how: object) -> SignedUrl:
        return SignedUrl(self.url)

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        pass

    def close(self) -> None:
        self._pool.close()

    def probe(self) -> SourceVersion:
        """Probe it as the mount does: with what is known."""
        self.known = self._probe.probe(CODE, Deadline(30, CLOCK))
        return self.known

    def read(self, version: SourceVersion, start: int, stop: int) -> bytes:
        """Some bytes of the version."""
        sink = Bytes(stop - start)
        self._reader.fetch(version, ByteRange(start, stop), sink, Deadline(30, CLOCK))
        return bytes(sink.data)

    def read_until_error(self, version: SourceVersion) -> tuple[bytes, BacklotError | None]:
        """What a program gets that reads the whole file: bytes, and perhaps an error."""
        got = b""
        try:
            for start in range(0, version.size, STEP):
                got += self.read(version, start, min(start + STEP, version.size))
        except BacklotError as error:
            return got, error
        return got, None

    def read_all(self, version: SourceVersion) -> bytes:
        """The bytes of the version, by several GETs."""
        ends = range(0, version.size, STEP)
        return b"".join(self.read(version, at, min(at + STEP, version.size)) for at in ends)


class Bytes:
    """A `BufferSink` for all that is wanted."""

    urgent = True

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self._reached = 0

    def buffers(self) -> list[memoryview]:
        return [memoryview(self.data)[self._reached :]]

    def commit(self, size: int) -> int:
        self._reached += size
        return size


class Row(NamedTuple):
    """What a host does, and how a read of the whole file ends."""

    choose: Choice
    error: type[BacklotError] | None = None


def same(*nodes: Node) -> Row:
    """The nodes answer in turn, and all of them are believed."""
    return Row(by_request(*nodes))


def by_chance(*nodes: Node) -> Choice:
    """Any of the nodes answers."""
    choice = random.Random(5)
    return lambda _request, _connection: choice.choice(nodes)


def stale(choose: Choice) -> Row:
    """The read fails, at the latest when another node has answered."""
    return Row(choose, ContentChanged)


ROWS: dict[str, Row] = {
    # one version, by several ETags
    "an ETag for each node": same(A, B),
    "an ETag for each of three nodes": same(A, B, C),
    "an ETag for each of five nodes, by chance": Row(by_chance(*EIGHT[:5])),
    "an ETag for each of eight nodes": same(*EIGHT),
    "an ETag for each of eight nodes, by chance": Row(by_chance(*EIGHT)),
    "eight nodes by connection": Row(by_connection(*EIGHT)),
    "a node for each connection": Row(by_connection(A, B)),
    "three nodes by connection": Row(by_connection(A, B, C)),
    "weak and strong": same(WEAK, STRONG),
    "strong and weak": same(STRONG, WEAK),
    "weak, then strong for good": Row(after(1, WEAK, STRONG)),
    "strong, then weak for good": Row(after(1, STRONG, WEAK)),
    "with and without quotes": same(STRONG, replace(STRONG, etags=("e",))),
    "no ETag on one node": same(A, BARE),
    "an ETag on one node only": same(BARE, A),
    "an ETag as of a compressed answer": same(A, replace(A, etags=('"inode-a-gzip"',))),
    "two ETags on one node": same(A, replace(A, etags=('"inode-a"', '"other"'))),
    "dates in other forms, without ETag": same(
        BARE, replace(BARE, modified=RFC_850), replace(BARE, modified=ASCTIME)
    ),
    "dates in other forms": same(
        A,
        replace(B, modified=RFC_850, date="Sat Nov 28 18:00:00 2026"),
        replace(C, modified=ASCTIME),
    ),
    "the same strong ETag with dates a second apart": same(STRONG, replace(STRONG, modified=LATER)),
    "the same strong ETag without any date": same(STRONG, replace(STRONG, modified=None, date="")),
    "412 to the ETag that the host gave": same(replace(A, refuses="if-match")),
    "412 to its own ETag on one node": same(A, replace(A, refuses="if-match")),
    "412 whatever is asked, on one node": same(A, replace(A, refuses="always")),
    "412 from nodes with ETags of their own": same(A, replace(B, refuses="if-match")),
    "If-Match is ignored": same(replace(A, refuses="never"), replace(B, refuses="never")),
    # perhaps another version
    "another ETag for good": stale(after(1, A, B)),
    "another ETag for good, after some reads": stale(after(3, A, B)),
    "another ETag of the same second": stale(by_request(A, replace(B, date=SAME_SECOND))),
    "all within the same second": stale(
        by_request(replace(A, date=SAME_SECOND), replace(B, date=SAME_SECOND))
    ),
    "taken in its second, then another ETag": stale(after(1, replace(A, date=SAME_SECOND), V2)),
    "weak in its second, then strong": stale(
        after(1, replace(WEAK, date=SAME_SECOND), replace(V2, etags=('"e"',)))
    ),
    "a date to come": stale(
        by_request(*(replace(n, modified=http_date(NOW_S + 86_400)) for n in (A, B)))
    ),
    "a host whose clock is ahead": stale(
        by_request(
            *(
                replace(n, modified=http_date(NOW_S + 3600), date=http_date(NOW_S + 86_400))
                for n in (A, B)
            )
        )
    ),
    "no Date": stale(by_request(A, replace(B, date=""))),
    "a Date that is none": stale(by_request(A, replace(B, date="yesterday"))),
    "two Dates in one": stale(
        by_request(A, replace(B, date=f"{http_date(OLD_S + 9000)}, {http_date(OLD_S)}"[:63]))
    ),
    "no Last-Modified": stale(by_request(replace(A, modified=None), replace(B, modified=None))),
    "another Last-Modified": stale(by_request(A, replace(B, modified=LATER))),
    "the same weak ETag with another Last-Modified": stale(
        by_request(WEAK, replace(WEAK, modified=LATER))
    ),
    "a new version on one node": stale(by_request(A, replace(V2, modified=LATER))),
    "a new version on one of eight nodes": stale(
        by_request(*EIGHT[:7], replace(V2, modified=LATER))
    ),
    "other bytes on one of eight nodes": stale(
        by_request(*EIGHT[:7], replace(B, data=changed_at(0)))
    ),
    "an ETag for each of many nodes": stale(
        lambda request, _connection: replace(A, etags=(f'"{request % 50}"',))
    ),
    "another size": stale(by_request(A, replace(B, data=DATA[:-1]))),
    "a new ETag for each answer": stale(
        lambda request, _connection: replace(A, etags=(f'"{request}"',))
    ),
    "an old date on other bytes": stale(by_request(A, V2)),
    "other bytes at the beginning": stale(by_request(A, replace(B, data=changed_at(0)))),
    "other bytes in the middle": stale(by_request(A, replace(B, data=changed_at(SIZE // 2)))),
    "other bytes at the end": stale(by_request(A, replace(B, data=changed_at(SIZE - 1)))),
    # no version at all
    "412 whatever is asked": Row(after(1, A, replace(A, refuses="always")), InvalidRangeResponse),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_a_host_says_of_one_version(name: str) -> None:
    """All bytes of the version that was found first, or the error; never a byte of another."""
    row = ROWS[name]
    with NodeHost(row.choose) as host, closing(Source(host)) as source:
        got, error = source.read_until_error(source.probe())
    assert type(error) is (row.error or type(None)), error
    assert got == DATA[: len(got)]
    assert len(got) == SIZE or error is not None
    assert "Signature" not in str(error)


SAME = [name for name, row in ROWS.items() if row.error is None]


@pytest.mark.parametrize("name", SAME)
def test_a_later_probe_finds_the_same_version(name: str) -> None:
    """Whichever node answers it: the blocks and the pages of the file stay what they are."""
    with NodeHost(ROWS[name].choose) as host, closing(Source(host)) as source:
        first = source.probe()
        assert [source.probe().validator for _ in range(4)] == [first.validator] * 4


@pytest.mark.parametrize("size", [1, 1000, 65_536, 65_537])
def test_small_files(size: int) -> None:
    """Files of one block, and the first of two."""
    nodes = [replace(node, data=DATA[:size]) for node in (A, B)]
    with NodeHost(by_request(*nodes)) as host, closing(Source(host)) as source:
        assert source.read_all(source.probe()) == DATA[:size]


@pytest.mark.parametrize("place", [0, 17, 20_001, 65_535])
def test_a_small_file_is_compared_as_a_whole(place: int) -> None:
    """So a forged date hides no change of it."""
    good, other = (
        replace(n, data=n.data[:65_536]) for n in (A, replace(B, data=changed_at(place)))
    )
    with NodeHost(by_request(good, other)) as host, closing(Source(host)) as source:
        got, error = source.read_until_error(source.probe())
    assert isinstance(error, ContentChanged)
    assert got == DATA[: len(got)]


def test_the_bytes_that_are_cached_are_compared() -> None:
    """A forged date on a change that no fixed place holds: what was served says otherwise."""
    place = SIZE // 4
    other = replace(B, data=changed_at(place))
    with NodeHost(by_request(A, other)) as host, closing(Source(host)) as source:
        sample = ByteRange(place - 10, place + 10)
        source.aliases.cached = lambda *_: {sample: DATA[sample.start : sample.stop]}
        got, error = source.read_until_error(source.probe())
    assert isinstance(error, ContentChanged)
    assert got == DATA[: len(got)]


def test_what_was_proven_costs_nothing_afterwards() -> None:
    """No `If-Match` that would be refused, and no sample; a second file is proven by itself."""
    with NodeHost(by_request(A, B)) as host, closing(Source(host)) as source:
        version = source.probe()
        source.read_all(version)
        asked = len(host.asked)
        for _ in range(3):
            source.read_all(version)
        assert len(host.asked) - asked == 3 * SIZE // STEP
        assert set(host.asked[asked:]) == {None}
        assert asked < 30


@pytest.mark.parametrize(
    ("choose", "most"), [(by_request(*EIGHT), 60), (by_chance(*EIGHT), 8 * GETS_PER_NAME)]
)
def test_one_proof_for_all_nodes(choose: Choice, most: int) -> None:
    """It grows with the number of nodes, not with its square."""
    with NodeHost(choose) as host, closing(Source(host)) as source:
        version = source.probe()
        source.read_all(version)
        assert len(host.asked) < most


def test_a_proof_that_runs_out_of_time_keeps_what_it_found() -> None:
    """So that the next one ends, however slow the host is."""
    chance, aliases = random.Random(5), EtagAliases(CLOCK)
    versions = [SourceVersion(CODE, SIZE, tag, http_date(OLD_S)) for tag in ("a", *"bcdefgh")]
    seen = [SeenVersion(version, strongly_dated=True) for version in versions]

    class SlowHost:
        """Answers so many GETs within the time limit of one proof, each by any node."""

        left = 0

        def read(
            self, _code: str, reading: Any, _deadline: Deadline
        ) -> tuple[ByteRange, SeenVersion, bytes]:
            if not self.left:
                raise DeadlineExceeded("too slow")
            self.left -= 1
            place = reading.wanted()
            return place, chance.choice(seen), DATA[place.start : place.stop]

    host: Any = SlowHost()
    for _ in range(30):
        host.left = 60
        with suppress(DeadlineExceeded):
            aliases.prove(host, versions[0], seen[1], Deadline(30, CLOCK))
    assert all(aliases.is_same(versions[0], one) for one in seen)


def test_a_host_that_answers_right_is_asked_for_its_etag() -> None:
    """`If-Match` is left out only where it does not work."""
    with NodeHost(by_request(A)) as host, closing(Source(host)) as source:
        source.read_all(source.probe())
        assert host.asked == [None] + ['"inode-a"'] * (SIZE // STEP)


def test_a_replaced_source_does_not_change_how_its_host_is_asked() -> None:
    """Its 412 was right."""
    new = replace(V2, modified=LATER)
    with NodeHost(after(2, A, new)) as host, closing(Source(host)) as source:
        version = source.probe()
        source.read(version, 0, STEP)
        with pytest.raises(ContentChanged):
            source.read(version, STEP, SIZE)
        assert host.asked[2:] == ['"inode-a"', None]
        assert source.read_all(source.probe()) == new.data
        assert host.asked[-1] == '"inode-b"'


def test_a_proof_that_fails_is_not_repeated_at_once() -> None:
    """Reads of the old version fail fast, and the next probe believes the new ETag."""
    with NodeHost(after(1, A, B)) as host, closing(Source(host)) as source:
        version = source.probe()
        for _ in range(5):
            with pytest.raises(ContentChanged):
                source.read(version, 0, STEP)
        assert len(host.asked) < GETS_PER_NAME + 15
        assert source.read_all(source.probe()) == DATA


def test_a_host_that_makes_an_etag_for_each_answer_is_given_up_soon() -> None:
    """By all readers, whichever ETag each of them has got."""
    choose: Choice = lambda request, _connection: replace(A, etags=(f'"{request}"',))  # noqa: E731
    with NodeHost(choose) as host, closing(Source(host)) as source:
        version = source.probe()
        errors: list[BacklotError | None] = []

        def read() -> None:
            errors.append(source.read_until_error(version)[1])

        readers = [threading.Thread(target=read) for _ in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert [type(error) for error in errors] == [ContentChanged] * 8
        assert len(host.asked) < GETS_PER_NAME + 8


def test_readers_share_a_proof() -> None:
    """Of many at once only one asks for samples."""
    with NodeHost(by_request(A, B)) as host, closing(Source(host)) as source:
        version = source.probe()
        found: list[bytes] = []

        def read() -> None:
            found.append(source.read_all(version))

        readers = [threading.Thread(target=read) for _ in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert found == [DATA] * 8


def test_after_a_restart_it_is_proven_again() -> None:
    """The catalog keeps the version that was found first, and nothing of its other ETags."""
    with NodeHost(by_request(WEAK, STRONG)) as host:
        with closing(Source(host)) as source:
            version = source.probe()
        for first in (0, 1):
            host.choose = by_request(*((WEAK, STRONG) if first else (STRONG, WEAK)))
            with closing(Source(host)) as source:
                source.known = version
                assert source.read_all(version) == DATA
                assert source.probe() == version


def test_two_hosts_behind_redirects() -> None:
    """The 412 of one is not held against the other."""
    with NodeHost(by_request(A)) as one, NodeHost(by_request(B)) as two:
        places = [Node(location=f"{host.url}/x") for host in (one, two)]
        with NodeHost(by_request(*places)) as front, closing(RedirectedSource(front)) as source:
            version = source.probe()
            assert source.read_all(version) == DATA
            assert source.probe() == version


class RedirectedSource(Source):
    """A source whose host may redirect to other ports."""

    def __init__(self, host: NodeHost) -> None:
        super().__init__(host)
        policy = SourcePolicy.of("http://127.0.0.1", ["127.0.0.1"])
        self._probe._signed_get.policy = policy


def test_proven_versions() -> None:
    """What another mount wrote into the catalog is judged by what was proven here."""
    aliases = EtagAliases(CLOCK)
    one, other = (SourceVersion(CODE, SIZE, node.etags[0], http_date(OLD_S)) for node in (A, B))
    assert not aliases.are_proven(one, other)
    with NodeHost(by_request(A, B)) as host, closing(Source(host, aliases)) as source:
        source.read_all(source.probe())
    assert aliases.are_proven(one, other)
    assert aliases.are_proven(other, one)
    for third in (
        SourceVersion(CODE, SIZE, '"inode-c"', http_date(OLD_S)),
        SourceVersion(CODE, SIZE, '"inode-b"', LATER),
        SourceVersion(CODE, SIZE + 1, '"inode-b"', http_date(OLD_S)),
    ):
        assert not aliases.are_proven(one, third)
