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
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from errno import EACCES
from urllib.parse import urlsplit

from backlotfs.errors import BacklotError, SettingsError
from backlotfs.http.addresses import AddressScope, Network, embedded, parse_address, reach_of

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
