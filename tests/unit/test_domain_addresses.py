from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refused_addresses import REFUSED, Refused
from timer_trio.domain.addresses import LOOPBACK, AddressGuard, kind_of

PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
    *("172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"),
    *("198.20.0.0", "223.255.255.255", "2001:200::1", "2003::1", "2606:4700::1111"),
    *("2a00:1450:4001:81b::200e", "3ffe:ffff::1"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: ascii(refused.host))
def test_address_that_is_not_public_is_refused_with_a_word(refused: Refused) -> None:
    assert AddressGuard().refusal("hooks.example", refused.ip) == refused.kind


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_address_passes(ip: str) -> None:
    assert AddressGuard().refusal("hooks.example", ip) is None
    assert AddressGuard().admits(ip)


def near_refused() -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Addresses a few bits away from the refused ones, where a table goes wrong."""
    known = st.sampled_from([ip_address(refused.ip) for refused in REFUSED])

    def with_bits_turned(address: IPv4Address | IPv6Address, bits: set[int]) -> int:
        number = int(address)
        for bit in bits:
            number ^= 1 << bit % address.max_prefixlen
        return number

    return st.builds(
        lambda address, bits: type(address)(with_bits_turned(address, bits)),
        known,
        st.sets(st.integers(0, 127), max_size=3),
    )


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6) | near_refused())
def test_all_that_python_calls_not_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert kind_of(address) is not None


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_in_the_form_of_an_ipv6_one(address: IPv4Address) -> None:
    number = int(address)
    wrapped = [
        *(f"::ffff:{address}", f"::{address}", f"::ffff:0:{address}", f"64:ff9b::{address}"),
        *(f"64:ff9b:1::{address}", str(IPv6Address(0x2002 << 112 | number << 80))),
        str(IPv6Address(0x2001_0000 << 96 | number ^ 0xFFFFFFFF)),
    ]
    assert not [ip for ip in wrapped if AddressGuard().admits(ip)]


def test_network_admits_the_addresses_in_it_and_no_others() -> None:
    guard = AddressGuard([ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")])
    admitted = {"10.1.0.0", "10.1.255.255", "fd00:1::7", "fd00:1:ffff::1"}
    others = {"10.0.255.255", "10.2.0.0", "fd00:2::7", "127.0.0.1", "::1"}
    assert {ip for ip in admitted | others if guard.admits(ip)} == admitted


def test_mapped_form_of_an_admitted_address_counts_as_it() -> None:
    guard = AddressGuard(LOOPBACK)
    assert guard.admits("::ffff:127.0.0.1")
    assert guard.refusal("hooks.example", "::ffff:10.0.0.7") == "an IPv4-mapped address"


@pytest.mark.parametrize("ip", ["64:ff9b::127.0.0.1", "2002:7f00:1::", "::127.0.0.1"])
def test_other_forms_of_an_admitted_address_need_a_network_of_their_own(ip: str) -> None:
    assert not AddressGuard(LOOPBACK).admits(ip)
    assert AddressGuard([ip_network(ip)]).admits(ip)


def test_name_admits_whatever_it_resolves_to_and_no_other_name() -> None:
    guard = AddressGuard(["hooks.internal"])
    for host in ("hooks.internal", "HOOKS.internal."):
        assert guard.refusal(host, "10.0.0.7") is None
        assert guard.refusal(host, "::1") is None
    for host in ("internal", "a.hooks.internal", "hooks.internal.example", "10.0.0.7"):
        assert guard.refusal(host, "10.0.0.7") == "a private address"


def test_zone_changes_nothing() -> None:
    assert AddressGuard().refusal("hooks.example", "fe80::1%eth0") == "a link-local address"


@pytest.mark.parametrize("ip", ["", "localhost", "127.1", "1.1.1.1.", "::g"])
def test_what_is_no_address_is_refused(ip: str) -> None:
    assert AddressGuard().refusal("hooks.example", ip) == "not an IP address"


def test_mapped_address_counts_as_its_ipv4_address_alone() -> None:
    assert AddressGuard([ip_network("::/0")]).admits("::1")
    assert not AddressGuard([ip_network("::/0")]).admits("::ffff:127.0.0.1")
    assert not AddressGuard([ip_network("::/1")]).admits("::ffff:127.0.0.1")


@pytest.mark.parametrize("network", ["::ffff:10.0.0.7/128", "::ffff:10.0.0.0/104"])
def test_mapped_network_counts_as_its_ipv4_network(network: str) -> None:
    guard = AddressGuard([ip_network(network)])
    assert guard.admits("10.0.0.7")
    assert guard.admits("::ffff:10.0.0.7")
    assert not guard.admits("127.0.0.1")
