"""How far an address reaches, in every dress it can wear."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.http.address_policy import AddressScope, embedded, reach_of


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", AddressScope.PUBLIC),
        ("2606:2800:220:1:248:1893:25c8:1946", AddressScope.PUBLIC),
        ("10.0.0.1", AddressScope.PRIVATE),
        ("172.16.0.1", AddressScope.PRIVATE),
        ("192.168.255.255", AddressScope.PRIVATE),
        ("100.64.0.1", AddressScope.PRIVATE),
        ("198.18.0.1", AddressScope.PRIVATE),
        ("fd12::1", AddressScope.PRIVATE),
        ("fec0::1", AddressScope.PRIVATE),
        ("127.0.0.1", AddressScope.LOOPBACK),
        ("127.255.0.9", AddressScope.LOOPBACK),
        ("::1", AddressScope.LOOPBACK),
        ("169.254.1.1", AddressScope.LINK_LOCAL),
        ("fe80::1%eth0", AddressScope.LINK_LOCAL),
        ("169.254.169.254", AddressScope.METADATA),
        ("169.254.170.2", AddressScope.METADATA),
        ("fd00:ec2::254", AddressScope.METADATA),
        ("100.100.100.200", AddressScope.METADATA),
        ("0.0.0.0", AddressScope.RESERVED),
        ("0.1.2.3", AddressScope.RESERVED),
        ("::", AddressScope.RESERVED),
        ("224.0.0.1", AddressScope.RESERVED),
        ("ff02::1", AddressScope.RESERVED),
        ("not an address", AddressScope.RESERVED),
        ("", AddressScope.RESERVED),
    ],
)
def test_reach(address: str, reach: AddressScope) -> None:
    """Each kind of network, in both versions."""
    assert reach_of(address) is reach


@pytest.mark.parametrize(
    "dress", ["::ffff:{}", "64:ff9b::{}", "::{}", "2002:{hex}::1", "2001:0:0:0:0:0:{inverted}"]
)
@pytest.mark.parametrize(
    ("inner", "reach"),
    [
        ("127.0.0.1", AddressScope.LOOPBACK),
        ("10.1.2.3", AddressScope.PRIVATE),
        ("169.254.169.254", AddressScope.METADATA),
        ("93.184.216.34", AddressScope.PUBLIC),
    ],
)
def test_ipv4_inside_of_ipv6(dress: str, inner: str, reach: AddressScope) -> None:
    """Mapped, translated, compatible, 6to4 and Teredo: packets end at the IPv4 address."""
    number = int(ipaddress.IPv4Address(inner))
    plain, inverted = (f"{n >> 16:x}:{n & 0xFFFF:x}" for n in (number, number ^ 0xFFFFFFFF))
    assert reach_of(dress.format(inner, hex=plain, inverted=inverted)) is reach


@given(st.ip_addresses())
def test_public_means_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever is called public is so for the standard library, in its own or its inner dress."""
    if reach_of(str(address)) is AddressScope.PUBLIC:
        inner = embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
        assert (inner or address).is_global
        assert not (inner or address).is_multicast
