# SPDX-License-Identifier: Apache-2.0
"""A connection through an HTTP proxy, by CONNECT (RFC 9110 §9.3.6).

The proxy gets the name and the port of the host, and looks the name up itself. After its answer,
every byte goes to the host or comes from it. So the TLS connection is with the host, not with the
proxy. Plain HTTP uses CONNECT, too, so that there is only one way.

`ProxyFailed` says in full sentences what went wrong, and whether the proxy or the host behind it
failed. Of the proxy's answer, only the status and well-known ways to authenticate are shown.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable

from backlotfs.config.proxy import Proxy, host_and_port
from backlotfs.http.connecting import Connected, Resolve, connect_directly

#: Most bytes of the head of the proxy's answer with all ``1xx`` answers before it.
MAX_HEAD_BYTES = 16 * 1024
_BEGINNING = b"HTTP/1."
# a timeout of 0 would make a socket non-blocking
_LEAST_TIMEOUT_S = 0.001
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_SCHEME = re.compile(rb"\nproxy-authenticate:[ \t]*([a-z]+)", re.IGNORECASE)
#: Ways to authenticate that a message may name.
_KNOWN_SCHEMES = ("Basic", "Digest", "NTLM", "Negotiate", "Kerberos", "Bearer")


class ProxyFailed(OSError):
    """No connection through the proxy was made; the text says why, and what to do.

    :ivar at_proxy: whether the proxy itself failed, so that it cannot reach other hosts either.
    :ivar lasting: whether another attempt would fail, too.
    """

    def __init__(self, why: str, *, at_proxy: bool, lasting: bool = False) -> None:
        super().__init__(why)
        self.at_proxy = at_proxy
        self.lasting = lasting


def ascii_host(host: str) -> str:
    """The form of a host name that is sent: IDNA for names beyond ASCII.

    :raises UnicodeError: it cannot be a host name.
    """
    sent = host if host.isascii() else host.encode("idna").decode("ascii")
    if not sent or not sent.isprintable() or set(sent) & set(" /?#@\\"):
        raise UnicodeError("this is no host name")
    return sent


def connect_through(
    proxy: Proxy, host: str, port: int, timeout_s: float, *, resolve: Resolve | None = None
) -> socket.socket:
    """A socket that is connected to ``host`` through the proxy. Its timeout is the time left.

    :param timeout_s: for the look-up of the proxy's name, all its addresses and its answer.
    :param resolve: used instead of `socket.getaddrinfo`, for the proxy's own name.
    :raises ProxyFailed: see there. :raises UnicodeError: ``host`` cannot be a host name.
    """
    until_s = time.monotonic() + timeout_s
    target = host_and_port(ascii_host(host), port)
    sock, peer = _connect_to(proxy, timeout_s, resolve)
    answered = False
    try:
        _ask(sock, proxy, target)
        head = _read_head(sock, proxy, target, until_s)
        answered = True
        _judge(head, proxy, target)
        _check_silent(sock, proxy)
        sock.settimeout(max(_LEAST_TIMEOUT_S, until_s - time.monotonic()))
    except BaseException:
        sock.close()
        if peer is not None and not answered:
            peer.distrust()
        raise
    return sock


#: Connects to a host and port, within so many seconds.
Dial = Callable[[str, int, float], Connected]


def dial_for(proxy: Proxy | None) -> Dial:
    """A function that makes connections through ``proxy``; directly if it is None."""
    if proxy is None:
        return connect_directly
    return lambda host, port, timeout_s: Connected(
        connect_through(proxy, host, port, timeout_s), None
    )


def _failed(
    proxy: Proxy, what: str, remedy: str, *, at_proxy: bool = True, lasting: bool = False
) -> ProxyFailed:
    return ProxyFailed(f"proxy {proxy}: {what}; {remedy}", at_proxy=at_proxy, lasting=lasting)


def _cut(proxy: Proxy) -> ProxyFailed:
    return _failed(proxy, "it ends the connection without an answer", "is it an HTTP proxy?")


def _no_proxy(proxy: Proxy) -> ProxyFailed:
    return _failed(proxy, "it does not answer as an HTTP proxy", "is its address right?")


def _connect_to(proxy: Proxy, timeout_s: float, resolve: Resolve | None) -> Connected:
    try:
        return connect_directly(proxy.host, proxy.port, timeout_s, resolve=resolve)
    except (OSError, UnicodeError) as error:
        if isinstance(error, socket.gaierror | UnicodeError):
            what = "its name does not resolve"
        elif isinstance(error, ConnectionRefusedError):
            what = "it refuses the connection"
        elif isinstance(error, TimeoutError):
            what = "no connection came about in time"
        else:
            what = "there is no route to it"
    raise _failed(proxy, what, "is its address right, and is it running?")


def _ask(sock: socket.socket, proxy: Proxy, target: str) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    except OSError:
        raise _cut(proxy) from None


def _read_head(sock: socket.socket, proxy: Proxy, target: str, until_s: float) -> bytes:
    """Read the head of the final answer; the bytes behind it stay in the socket."""
    head, size = b"", 0
    while time.monotonic() < until_s:
        piece = _peek(sock, proxy, target, until_s)
        if not piece:
            raise _no_proxy(proxy) if size else _cut(proxy)
        end = _HEAD_END.search(head + piece)
        taken = len(piece) if end is None else end.end() - len(head)
        head += sock.recv(taken)
        size += taken
        if size > MAX_HEAD_BYTES or not head.startswith(_BEGINNING[: len(head)]):
            raise _no_proxy(proxy)
        if end is not None:
            if _status(head, proxy) >= 200:
                return head
            head = b""  # the final answer follows this 1xx answer
    raise _late(proxy, target)


def _peek(sock: socket.socket, proxy: Proxy, target: str, until_s: float) -> bytes:
    sock.settimeout(max(_LEAST_TIMEOUT_S, until_s - time.monotonic()))
    try:
        return sock.recv(MAX_HEAD_BYTES, socket.MSG_PEEK)
    except TimeoutError:
        raise _late(proxy, target) from None
    except OSError:
        raise _cut(proxy) from None


def _late(proxy: Proxy, target: str) -> ProxyFailed:
    return _failed(
        proxy,
        f"its answer to CONNECT {target} did not come in time",
        "is that host up, and can the proxy reach it?",
        at_proxy=False,  # it may be waiting for the host: another host may be reached
    )


def _status(head: bytes, proxy: Proxy) -> int:
    matched = _STATUS_LINE.match(head)
    if matched is None:
        raise _no_proxy(proxy)
    return int(matched[1])


def _judge(head: bytes, proxy: Proxy, target: str) -> None:
    """:raises ProxyFailed: the answer is not 2xx."""
    status = _status(head, proxy)
    if 200 <= status < 300:
        return
    if status == 407:
        raise _unauthorized(head, proxy)
    if status == 403:
        raise _failed(
            proxy,
            f"it does not allow a connection to {target} (403)",
            "ask its owner to allow CONNECT to that host and port; many allow port 443 only",
            at_proxy=False,
            lasting=True,
        )
    if status in (405, 501):
        raise _failed(
            proxy, f"it does not know CONNECT ({status})", "is it an HTTP proxy?", lasting=True
        )
    if status in (404, 500, 502, 503, 504):
        raise _failed(
            proxy,
            f"it cannot reach {target} ({status})",
            "is the name of that host right, and is it up?",
            at_proxy=False,
        )
    raise _failed(
        proxy, f"it answers {status} to CONNECT {target}", "ask its owner why", at_proxy=False
    )


def _unauthorized(head: bytes, proxy: Proxy) -> ProxyFailed:
    offered = {scheme.decode("ascii").lower() for scheme in _SCHEME.findall(head)}
    known = [scheme for scheme in _KNOWN_SCHEMES if scheme.lower() in offered]
    if known and "Basic" not in known:
        what = f"it wants {' or '.join(known)} (407), and backlotfs knows Basic only"
        remedy = "ask its owner for a way with Basic or without a password"
    elif proxy.credentials:
        what = "it refuses the name and the password (407)"
        remedy = "correct them in `proxy` of the profile, or in BACKLOT_PROXY"
    else:
        what = "it wants a name and a password (407)"
        remedy = f'write them into the profile: proxy = "http://NAME:PASSWORD@{proxy}"'
    return _failed(proxy, what, remedy, lasting=True)


def _check_silent(sock: socket.socket, proxy: Proxy) -> None:
    """Check that no byte follows the answer: the host sends nothing before a request.

    :raises ProxyFailed: the proxy sends a page, or has closed the connection.
    """
    sock.setblocking(False)
    try:
        more = sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return
    except OSError:
        more = b""
    if not more:
        raise _cut(proxy)
    raise _failed(
        proxy,
        "it sends a page instead of connecting",
        "is it an HTTP proxy, and does it want a login in a browser?",
    )
