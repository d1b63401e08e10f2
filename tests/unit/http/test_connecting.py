# SPDX-License-Identifier: Apache-2.0
"""Addresses of one host are tried side by side: one that is dead costs no more than a moment."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from backlotfs.http import connecting
from backlotfs.http.connecting import AddressInfo, Peer, connect_to_any
from tests.support.long_runs import few_of
from tests.support.open_files import open_files
from tests.support.silent_address import silent_address

#: For all addresses together: far more than any test needs.
AMPLE_S = 60.0


def info(host: str, port: int) -> AddressInfo:
    """As `socket.getaddrinfo` has it."""
    return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]


@pytest.fixture
def host(request: pytest.FixtureRequest) -> str:
    """A name of which nothing is remembered yet."""
    return f"{request.node.name}.example"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """An address that answers."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as opened:
        yield opened


@pytest.fixture
def good(listener: socket.socket) -> AddressInfo:
    """Where the listener is."""
    return info("127.0.0.1", listener.getsockname()[1])


@pytest.fixture
def silent(good: AddressInfo) -> Iterator[AddressInfo]:
    """An address of the same port at which nobody answers."""
    with silent_address("127.0.0.2", good[4][1]) as address:
        yield info(*address)


@pytest.fixture
def refused(good: AddressInfo) -> AddressInfo:
    """An address of the same port at which nobody listens."""
    return info("127.0.0.3", good[4][1])


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that were connected to, in their order."""
    found: list[str] = []

    class Recorded(socket.socket):
        def connect_ex(self, address: tuple[str, int]) -> int:  # type: ignore[override]
            found.append(address[0])
            return super().connect_ex(address)

    monkeypatch.setattr(socket, "socket", Recorded)
    return found


def peer(host: str, *addresses: AddressInfo, seconds: float = AMPLE_S) -> str:
    """Connect; the address that won."""
    with connect_to_any(host, addresses, time.monotonic() + seconds).sock as connected:
        assert connected.getblocking() or connected.gettimeout()
        return str(connected.getpeername()[0])


@pytest.mark.parametrize("dead", few_of([1, 2, 20, 100], 1, 2))
def test_dead_addresses_before_a_good_one(host: str, good: AddressInfo, dead: int) -> None:
    """As IPv6 without a way out, or machines of a pool that are down: all are given a chance."""
    with contextlib.ExitStack() as opened:
        places = [f"127.0.1.{number + 1}" for number in range(dead)]
        found = [info(*opened.enter_context(silent_address(at, good[4][1]))) for at in places]
        with connect_to_any(host, [*found, good], time.monotonic() + 16.0).sock as connected:
            assert connected.getpeername()[0] == "127.0.0.1"
            assert (connected.gettimeout() or 0) > 1.0, "what is left is for TLS"


def test_a_refused_attempt_starts_the_next_at_once(
    host: str, good: AddressInfo, refused: AddressInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this test would take hours."""
    monkeypatch.setattr(connecting, "ATTEMPT_DELAY_S", 1e5)
    odd = (9999, *good[1:])  # as IPv6 where it is switched off
    assert peer(host, refused, odd, refused, good, seconds=1e5) == "127.0.0.1"


def test_an_attempt_goes_on_while_others_are_made(host: str, silent: AddressInfo) -> None:
    """An address that answers late still wins, if the others do not answer at all."""
    with contextlib.ExitStack() as opened:
        late = opened.enter_context(socket.create_server(("127.0.0.4", 0), backlog=0))
        waiting = [opened.enter_context(socket.socket()) for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(late.getsockname())

        def answer() -> None:
            for _ in waiting:
                late.accept()[0].close()

        timer = threading.Timer(0.6, answer)
        timer.start()
        assert peer(host, info(*late.getsockname()), silent) == "127.0.0.4"
        timer.join()


def test_families_take_turns(host: str, tried: list[str]) -> None:
    """The system's first address comes first; each address is tried once."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        pytest.skip("this kernel has no IPv6")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    six = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"::{n:x}", port, 0, 0)) for n in (1, 2, 3)
    ]
    four = [info(f"127.0.0.{number}", port) for number in (4, 5)]
    with pytest.raises(OSError, match=r"."):
        connect_to_any(host, [*six, *four, six[0]], time.monotonic() + 8.0)
    assert tried == ["::1", "127.0.0.4", "::2", "127.0.0.5", "::3"]


def test_the_winner_is_tried_first_the_next_time(
    host: str, good: AddressInfo, silent: AddressInfo, tried: list[str]
) -> None:
    """Under its own name; a name of its addresses that is not given any more is not tried."""
    assert peer(host, silent, good) == "127.0.0.1"
    assert tried == ["127.0.0.2", "127.0.0.1"]
    tried.clear()
    assert peer(host, silent, good) == "127.0.0.1"
    assert tried == ["127.0.0.1"]
    tried.clear()
    assert peer(f"other.{host}", silent, good) == "127.0.0.1"
    assert tried == ["127.0.0.2", "127.0.0.1"]
    tried.clear()
    with pytest.raises(TimeoutError):
        connect_to_any(host, [silent], time.monotonic() + 0.2)
    assert tried == ["127.0.0.2"], "what the policy or the name does not have is not tried"


def test_a_winner_that_fails_is_forgotten(
    host: str, listener: socket.socket, good: AddressInfo, silent: AddressInfo, tried: list[str]
) -> None:
    """Then the system's order counts again."""
    assert peer(host, silent, good) == "127.0.0.1"
    with socket.socket() as kept:  # or another process might listen at the port that is free
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(listener.getsockname())
        listener.close()
        for order in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]):
            tried.clear()
            with pytest.raises(ConnectionRefusedError):
                connect_to_any(host, [silent, good], time.monotonic() + 0.5)
            assert tried == order


def met(host: str, *addresses: AddressInfo) -> Peer:
    """Connect to the first of several addresses that answers; which one it is."""
    sock, found = connect_to_any(host, addresses, time.monotonic() + AMPLE_S)
    sock.close()
    assert found is not None
    return found


def test_what_took_a_connection_and_did_not_answer_is_tried_last(
    host: str, good: AddressInfo, refused: AddressInfo, tried: list[str]
) -> None:
    """A machine whose server hangs is behind all others, until it alone is left."""
    with socket.create_server(("127.0.0.3", good[4][1])):
        hangs = met(host, refused, good)
        assert hangs.address[0] == "127.0.0.3"
        hangs.distrust()
        tried.clear()
        other = met(host, refused, good)
        assert other.address[0] == "127.0.0.1"
        hangs.distrust()
        assert peer(host, refused, good) == "127.0.0.1", "a second connection says no more"
        other.distrust()
        tried.clear()
        assert peer(host, refused, good) == "127.0.0.3"
        assert tried == ["127.0.0.3"]


def test_who_may_hang(host: str, good: AddressInfo) -> None:
    """An address that has not answered, while another one is not known to hang."""
    with socket.create_server(("127.0.0.3", good[4][1])):
        both = [info("127.0.0.3", good[4][1]), good]
        hangs = met(host, *both)
        assert hangs.may_hang()
        hangs.distrust()
        other = met(host, *both)
        assert not other.may_hang()
        other.answered()
        hangs = met(f"other.{host}", *both)
        hangs.distrust()
        other = met(f"other.{host}", *both)
        other.answered()
        assert hangs.may_hang(), "it is another address that has answered"
        hangs.answered()
        assert not hangs.may_hang()
    sock, alone = connect_to_any(host, [good], time.monotonic() + AMPLE_S)
    sock.close()
    assert alone is None, "there is no other address"


@pytest.mark.parametrize("count", [1, 40])
def test_nothing_is_left_open(
    host: str, good: AddressInfo, silent: AddressInfo, count: int
) -> None:
    """However it ends."""
    addresses = [
        (*silent[:4], (f"127.0.0.{2 if number == 0 else 100 + number}", silent[4][1]))
        for number in range(count)
    ]
    before = open_files()
    peer(host, silent, *addresses, good)
    with pytest.raises(OSError, match=r"."):
        connect_to_any(host, [*addresses, silent], time.monotonic() + 0.3)
    assert open_files() <= before


def test_the_most_telling_error_is_raised(
    host: str, good: AddressInfo, silent: AddressInfo, refused: AddressInfo
) -> None:
    """A refusal says that the host is there, silence that it may be; else the first counts."""
    odd = (9999, *good[1:])
    for addresses, error in (
        ([silent, refused], ConnectionRefusedError),
        ([refused, silent], ConnectionRefusedError),
        ([odd, refused, odd], ConnectionRefusedError),
        ([odd, silent], TimeoutError),
    ):
        with pytest.raises(error):
            connect_to_any(host, addresses, time.monotonic() + 0.5)
    with pytest.raises(OSError, match="not supported"):
        connect_to_any(host, [odd, odd], time.monotonic() + 5)
    with pytest.raises(OSError, match="no address"):
        connect_to_any(host, [], time.monotonic() + 5)


def test_the_time_is_for_all_addresses_together(host: str, silent: AddressInfo) -> None:
    """A host of a hundred dead addresses costs no more than one."""
    with pytest.raises(TimeoutError):
        connect_to_any(host, [silent] * 100, time.monotonic())
