# SPDX-License-Identifier: Apache-2.0
"""Which addresses a source may have, and which hosts the settings allow."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import SettingsError
from backlotfs.http.address_policy import (
    AddressScope,
    SourcePolicy,
    SourceRefused,
    embedded,
    plain_host,
    reach_of,
)


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


OPEN, HERE, LAN = "93.184.216.34", "127.0.0.1", "10.1.2.3"
LINK, CLOUD = "169.254.7.7", "169.254.169.254"


def allows(policy: SourcePolicy, host: str, address: str, api: Iterable[str] = (OPEN,)) -> bool:
    """The verdict."""
    try:
        policy.check(host, address, lambda: api)
    except SourceRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("api", "allowed"),
    [
        (OPEN, {OPEN}),
        (LAN, {OPEN, LAN}),
        (HERE, {OPEN, LAN, HERE}),
        (LINK, {OPEN, LINK}),
        ("::1", {OPEN, LAN, HERE}),
        ("fd00::1", {OPEN, LAN}),
    ],
)
def test_the_api_vouches_for_its_own_reach(api: str, allowed: set[str]) -> None:
    """A public API cannot send us inside; none can send us to a cloud's metadata."""
    policy = SourcePolicy.of("https://api.example")
    everything = {OPEN, LAN, HERE, LINK, CLOUD, "0.0.0.0", "224.0.0.1"}
    assert {at for at in everything if allows(policy, "h", at, [api])} == allowed


def test_the_api_is_looked_up_only_if_need_be() -> None:
    """Not for public sources; and an API that does not resolve vouches for nothing."""

    def unexpected() -> list[str]:
        raise AssertionError("looked up")

    SourcePolicy.of("https://api.example").check("h", OPEN, unexpected)
    assert not allows(SourcePolicy.of("https://api.example"), "h", LAN, [])


@pytest.mark.parametrize(
    ("entry", "host", "address", "allowed"),
    [
        ("media.lan", "media.lan", LAN, True),
        ("Media.LAN.", "media.lan", LAN, True),
        ("media.lan", "MEDIA.lan.", LAN, True),
        ("media.lan", "other.lan", LAN, False),
        ("media.lan", "a.media.lan", LAN, False),
        ("*.lan", "media.lan", LAN, True),
        (".lan", "a.b.lan", LAN, True),
        ("*.lan", "lan", LAN, False),
        ("*.lan", "evillan", LAN, False),
        ("10.1.0.0/16", "anything", LAN, True),
        ("10.1.0.0/16", "anything", "::ffff:10.1.2.3", True),
        ("10.2.0.0/16", "anything", LAN, False),
        ("10.1.2.3", "anything", LAN, True),
        ("[::1]", "localhost", "::1", True),
        ("fe80::/10", "printer", "fe80::1%eth0", True),
        ("169.254.169.254", "h", CLOUD, True),
        ("media.lan", "media.lan", CLOUD, True),
    ],
)
def test_allow_list(entry: str, host: str, address: str, allowed: bool) -> None:
    """By name, by domain, by address and by network; a name stands for whatever it resolves to."""
    assert allows(SourcePolicy.of("https://api.example", [entry]), host, address) is allowed


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "*lan", "a b", "http://h", "h:80", "h/p", "a..b", "é.example", "*.*"]
)
def test_entries_that_mean_nothing(entry: str) -> None:
    """Refused at start with what to write, not ignored for ever."""
    with pytest.raises(SettingsError, match="is no source host: write"):
        SourcePolicy.of("https://api.example", [entry])


def test_the_error_says_what_to_set() -> None:
    """EACCES; the host, its address, why, and both ways to allow it."""
    with pytest.raises(SourceRefused) as caught:
        SourcePolicy.of("https://api.example").check("media.lan", LAN, lambda: [OPEN])
    assert caught.value.errno == errno.EACCES
    for word in ("media.lan", LAN, "private", "api.example", "allow_source_hosts", "--allow-sou"):
        assert word in str(caught.value)


@given(st.ip_addresses(), st.ip_addresses(), st.text("ab.-*", max_size=6))
def test_nothing_inside_without_a_reason(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    api: ipaddress.IPv4Address | ipaddress.IPv6Address,
    host: str,
) -> None:
    """A public API and no list: exactly public addresses. Any API: never metadata or reserved."""
    policy = SourcePolicy.of("https://api.example")
    reach = reach_of(str(address))
    assert allows(policy, host, str(address)) == (reach is AddressScope.PUBLIC)
    if allows(policy, host, str(address), [str(api)]):
        assert reach not in (AddressScope.METADATA, AddressScope.RESERVED)
        assert (
            reach in (AddressScope.PUBLIC, reach_of(str(api)))
            or reach_of(str(api)) is AddressScope.LOOPBACK
        )


@given(st.text(max_size=20))
def test_hosts_are_compared_in_one_form(host: str) -> None:
    """Case and the last dot make no other host."""
    assert plain_host(plain_host(host)) in (plain_host(host), plain_host(host).removesuffix("."))
    assert SourcePolicy.of("https://api.example", ["a.example"]).names("A.Example.")
