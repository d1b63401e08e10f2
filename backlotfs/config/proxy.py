# SPDX-License-Identifier: Apache-2.0
"""The HTTP proxy through which the API and the source hosts are reached: ``http://HOST:PORT``.

Its address may contain a name and a password, which are secrets like the API's. So they may be in a
profile or in the environment, but not in an option, which every user of the machine can read.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes, urlsplit

from backlotfs.errors import SettingsError

#: Kinds of proxies that an error message may name: they cannot be a part of a password.
_OTHER_KINDS = ("https", "socks", "socks4", "socks4a", "socks5", "socks5h", "ftp")
_FORM = "http://proxy.example:3128"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. Its `str` (``HOST:PORT``) and its `repr` contain no secret.

    :ivar host: without brackets. :ivar credentials: ``NAME:PASSWORD``, or empty.
    """

    host: str
    port: int
    credentials: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        """``HOST:PORT``, for messages."""
        return host_and_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The complete setting with the password, for a file that no other user can read."""
        name, _, password = self.credentials.partition(b":")
        userinfo = f"{quote(name, safe='')}:{quote(password, safe='')}@" if name else ""
        return f"http://{userinfo}{self}"

    @property
    def authorization(self) -> str | None:
        """The value of ``Proxy-Authorization`` (RFC 7617); None without credentials."""
        if not self.credentials:
            return None
        return f"Basic {base64.b64encode(self.credentials).decode('ascii')}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must be redacted: name and password, the password, and their Base64."""
        if not self.credentials:
            return ()
        text = self.credentials.decode("utf-8", "replace")
        return text, text.partition(":")[2], (self.authorization or "").removeprefix("Basic ")


def host_and_port(host: str, port: int) -> str:
    """``HOST:PORT`` as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_proxy(text: str, where: str, *, public: bool = False) -> Proxy:
    """The proxy of a setting.

    :param where: the name of the setting, for messages.
    :param public: every user can read the setting, so it must not contain a name or password.
    :raises SettingsError: the text is no HTTP proxy, or ``public`` and has a name or password. The
        message says what to write, and contains no text that may be a password.
    """
    text = text.strip()
    if public and "@" in text:
        raise SettingsError(
            f"{where} takes no name and password, because every user could read them; write them "
            'into the profile: proxy = "http://NAME:PASSWORD@HOST:PORT", or set BACKLOT_PROXY'
        )
    url = text if "://" in text else f"http://{text}"
    wrong = _fault(url)
    if wrong is not None:
        # show no part of a text with a password: it may be split at the wrong place
        shown, hint = (f" {text!r}", "")
        if "@" in text:
            shown, hint = "", ", and percent-encode all but letters and digits in the password"
        raise SettingsError(f"{where}{shown} {wrong}; write it like {_FORM}{hint}")
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    userinfo, at, _ = parts.netloc.rpartition("@")
    return Proxy(parts.hostname, parts.port, _credentials(userinfo, where) if at else b"")


def _fault(url: str) -> str | None:
    """What is wrong with the address of a proxy, as the end of a sentence; None if nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no address of a proxy"
    if parts.scheme != "http":
        kind = (
            f"is of kind {parts.scheme}" if parts.scheme in _OTHER_KINDS else "is of another kind"
        )
        return f"{kind}, and only HTTP proxies can be used"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "is no address of a proxy"
    if not host:
        return "has no host"
    if not port:
        return "has no port"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "has a path, and a proxy has none"
    return None


def _credentials(userinfo: str, where: str) -> bytes:
    name, _, password = userinfo.partition(":")
    found = unquote_to_bytes(name), unquote_to_bytes(password)
    if not found[0] or b":" in found[0] or any(byte < 32 for byte in b"".join(found)):
        raise SettingsError(
            f"{where} has no usable name before the @: it is empty, or has a colon or a control "
            "character; write it like http://NAME:PASSWORD@HOST:PORT"
        )
    return b":".join(found)
