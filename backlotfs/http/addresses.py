"""Where an IP address leads: into the open, or to somewhere that only we can reach. Pure."""

from __future__ import annotations

import ipaddress
from enum import StrEnum

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


#: Services that hand a machine's own credentials to whoever asks from it: AWS, GCP and Azure; ECS;
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
