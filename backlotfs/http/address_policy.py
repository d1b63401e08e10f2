# SPDX-License-Identifier: Apache-2.0
"""Which hosts sources may be on. Pure: names and addresses in, verdict out.

Source URLs come from the API, and the API may be compromised, or its records may be: it must not
be able to send us to services that only we can reach. So:

- public addresses are fine;
- private ones are refused, unless the API host itself has one;
- loopback ones are refused, unless the API host itself has one (it may then name private ones,
  too: who runs a service here sees our network anyway);
- link-local ones, likewise, if the API host has one; metadata services of clouds and what is no
  address of a host at all, never;
- the allow-list overrides each of these.

What counts is the address that is connected to (`backlotfs.http.dialer`), not the name: so
``2130706433``, ``0177.1``, ``localhost.`` and names that resolve to other addresses the second
time are no way around it.

Where a proxy connects, nobody here sees the address: then a literal address, in whatever spelling,
and the names that always mean this machine or a metadata service are checked. What any other name
resolves to is for the proxy to allow.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from errno import EACCES
from urllib.parse import urlsplit

from backlotfs.errors import BacklotError, SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressScope(StrEnum):
    """From how far away an address can be reached; the value is the word for messages."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"
    RESERVED = "reserved"


#: Services that hand a machine's own credentials to any program on it: AWS, GCP and Azure; ECS;
#: AWS by IPv6; Alibaba; Azure's agent.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    )
)  # fmt: skip
#: IPv6 that a translator turns into the IPv4 address in its last 32 bits (RFC 6052), and the
#: long dead "IPv4-compatible" form.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


def parse_address(text: str) -> Address | None:
    """A literal IPv4 or IPv6 address, its zone (``%eth0``) dropped; None for anything else."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def reach_of(text: str) -> AddressScope:
    """The reach of a numeric address; of what is none, `AddressScope.RESERVED`.

    An IPv6 address that stands for an IPv4 one has the reach of that.
    """
    address = parse_address(text)
    if address is None:
        return AddressScope.RESERVED
    return _reach(address)


def embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address where packets to ``address`` may end: mapped, 6to4, Teredo, translated."""
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and int(address) > 1 and any(address in net for net in _TRANSLATED):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner


def _reach(address: Address) -> AddressScope:
    inner = embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return _reach(inner)
    if address in _METADATA:
        return AddressScope.METADATA
    if address.is_loopback:
        return AddressScope.LOOPBACK
    if address.is_link_local:
        return AddressScope.LINK_LOCAL
    # 0.0.0.0/8 is "this host": Linux connects it to the loopback
    this_host = address.version == 4 and int(address) < 1 << 24
    if this_host or address.is_unspecified or address.is_multicast:
        return AddressScope.RESERVED
    if address.is_private or getattr(address, "is_site_local", False):
        # Python calls documentation and broadcast networks private, too: no harm done
        return AddressScope.PRIVATE
    if address.is_reserved:
        return AddressScope.RESERVED
    return AddressScope.PUBLIC if address.is_global else AddressScope.PRIVATE


_REMEDY = (
    "if it should be, name it in allow_source_hosts of the profile, or with --allow-source-host"
)
#: What an API host's own reach vouches for, beside public addresses.
_VOUCHED = {
    AddressScope.PRIVATE: frozenset({AddressScope.PRIVATE}),
    AddressScope.LOOPBACK: frozenset({AddressScope.LOOPBACK, AddressScope.PRIVATE}),
    AddressScope.LINK_LOCAL: frozenset({AddressScope.LINK_LOCAL}),
}


class SourceRefused(BacklotError):
    """The API, or a redirect, names a source that our own policy does not let us ask."""

    errno = EACCES


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """An API host and an allow-list. Immutable; any thread may ask.

    :ivar api_host: as in the API's URL; it vouches for sources of its own reach.
    :ivar hosts: exact names, lower case, and ``.example.com`` for everything below it.
    :ivar networks: addresses allowed under whatever name.
    """

    api_host: str
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, api_url: str, allowed: Iterable[str] = ()) -> SourcePolicy:
        """From the settings.

        :param allowed: ``host``, ``*.domain`` (also ``.domain``), an address, or a network like
            ``10.1.0.0/16``.
        :raises SettingsError: for an entry that is none of these.
        """
        hosts, networks = set[str](), list[Network]()
        for entry in allowed:
            network = _network(entry)
            if network is not None:
                networks.append(network)
            else:
                hosts.add(_host_pattern(entry))
        return cls(plain_host(urlsplit(api_url).hostname), frozenset(hosts), tuple(networks))

    def names(self, host: str | None) -> bool:
        """Whether the allow-list names this host, by its name or as a literal address."""
        plain = plain_host(host)
        parts = plain.split(".")
        above = ("." + ".".join(parts[at:]) for at in range(1, len(parts)))
        return plain in self.hosts or any(name in self.hosts for name in above) or self._in(plain)

    def check(self, host: str, address: str, api_addresses: Callable[[], Iterable[str]]) -> None:
        """Refuse to connect to ``address``, which ``host`` resolved to.

        :param address: numeric; the very one that will be connected to.
        :param api_addresses: looked up only if the answer hangs on it.
        :raises SourceRefused: with what to set, if it is meant to be.
        """
        reach = reach_of(address)
        if reach is AddressScope.PUBLIC or self.names(host) or self._in(address):
            return
        vouched = (_VOUCHED.get(reach_of(own), frozenset()) for own in api_addresses())
        if not any(reach in reaches for reaches in vouched):
            raise SourceRefused(
                f"source host {host} has the {reach} address {address}, which the API at"
                f" {self.api_host} must not send us to; {_REMEDY}"
            )

    def check_name(self, host: str) -> None:
        """Refuse a host that a proxy will look up and connect to, by what its name says.

        :raises SourceRefused: with what to set, if it is meant to be.
        """
        address = _address_in_name(host)
        if address is not None:
            own = _address_in_name(self.api_host)
            self.check(host, address, lambda: () if own is None else (own,))

    def refused_redirect(self, here: str, there: str | None) -> SourceRefused:
        """The error for a redirect to a host that is not listed."""
        return SourceRefused(
            f"source host {here} redirects to {there or 'no host'}: not followed; {_REMEDY}"
        )

    def _in(self, text: str) -> bool:
        address = parse_address(text)
        inner = embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
        # a network of IPv4 is meant in whatever dress its addresses come
        return any(
            each in network for each in (address, inner) if each is not None
            for network in self.networks
        )  # fmt: skip


#: Names whose address is known without a look-up.
_NAMED_ADDRESSES = {
    "localhost": "127.0.0.1",
    "localhost.localdomain": "127.0.0.1",
    "ip6-localhost": "::1",
    "ip6-loopback": "::1",
    "metadata.google.internal": "169.254.169.254",
}


def _address_in_name(host: str) -> str | None:
    """The address that a host has for certain, before any look-up; None for other names."""
    name = plain_host(host)
    if name.endswith(".localhost"):  # RFC 6761 §6.3
        name = "localhost"
    if name in _NAMED_ADDRESSES or parse_address(name) is not None:
        return _NAMED_ADDRESSES.get(name, name)
    try:
        return socket.inet_ntoa(socket.inet_aton(name))  # 2130706433, 0177.1, 0x7f.1
    except OSError:
        return None


def plain_host(host: str | None) -> str:
    """A host name as it is compared: lower case, without brackets and the last dot."""
    return (host or "").strip("[]").lower().removesuffix(".")


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _host_pattern(entry: str) -> str:
    name = plain_host(entry.removeprefix("*"))
    labels = name.removeprefix(".").split(".")
    fits = all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels)
    if not fits or not name.isascii() or (entry.startswith("*") and not name.startswith(".")):
        raise SettingsError(
            f"{entry!r} is no source host: write host, *.domain, an address or a network"
            " like 10.1.0.0/16"
        )
    return name
