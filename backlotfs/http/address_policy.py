# SPDX-License-Identifier: Apache-2.0
"""Decides which hosts sources may be on, by names and addresses; makes no connection.

Source URLs come from the API. The API or its records may be compromised, but must not be able to
send us to services that only we can reach. So:

- public addresses are allowed;
- private addresses are refused, unless the API host itself has one;
- loopback addresses are refused, unless the API host itself has one (then it may also name private
  addresses, because a service on this machine can reach our network anyway);
- link-local addresses are refused, unless the API host itself has one;
- metadata services of clouds, and addresses that no host can have, are always refused;
- the allow-list overrides each of these rules.

The rules apply to the address that is connected to (`backlotfs.http.dialer`), not to the name. So
``2130706433``, ``0177.1``, ``localhost.`` and names that resolve to other addresses the second time
do not evade them.

A proxy connects by itself, so the address is not known here. Then only a literal address, in any
spelling, and the names that always mean this machine or a metadata service are checked. For other
names, the proxy decides which addresses are allowed.
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
    """From where an address can be reached. Messages contain the value."""

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
#: IPv6 addresses with an IPv4 address in the last 32 bits: those that a translator converts
#: (RFC 6052), and the obsolete "IPv4-compatible" form.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


def parse_address(text: str) -> Address | None:
    """A literal IPv4 or IPv6 address, its zone (``%eth0``) dropped; None for anything else."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def reach_of(text: str) -> AddressScope:
    """The scope of a numeric address; `AddressScope.RESERVED` for text that is not an address.

    An IPv6 address that stands for an IPv4 address has the scope of the IPv4 address.
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
    # 0.0.0.0/8 means "this host"; Linux connects 0.0.0.0 to the loopback
    this_host = address.version == 4 and int(address) < 1 << 24
    if this_host or address.is_unspecified or address.is_multicast:
        return AddressScope.RESERVED
    if address.is_private or getattr(address, "is_site_local", False):
        # for Python, documentation networks and the broadcast address are private, too: harmless
        return AddressScope.PRIVATE
    if address.is_reserved:
        return AddressScope.RESERVED
    return AddressScope.PUBLIC if address.is_global else AddressScope.PRIVATE


_REMEDY = (
    "if it should be, name it in allow_source_hosts of the profile, or with --allow-source-host"
)
#: Scope of the API host's address, to the scopes that its sources may have besides the public one.
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

    :ivar api_host: as in the API's URL; the scope of its address is allowed for sources.
    :ivar hosts: exact names, lower case, and ``.example.com`` for all names below it.
    :ivar networks: addresses that are allowed under any name.
    """

    api_host: str
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, api_url: str, allowed: Iterable[str] = ()) -> SourcePolicy:
        """Make the policy from the settings.

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
        :param api_addresses: gives the addresses of the API host; called only if they matter.
        :raises SourceRefused: the address is not allowed; the message says how to allow it.
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
        """Refuse a host by its name alone, because a proxy will look it up and connect to it.

        :raises SourceRefused: the host is not allowed; the message says how to allow it.
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
        # an IPv4 network also contains the IPv6 addresses that stand for its addresses
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
    """The address that a host name means without a look-up; None for other names."""
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
    """A host name in the form for comparisons: lower case, no brackets, no dot at the end."""
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
