"""Which addresses a callback may reach: public ones, and what the operator allows besides.

What is refused are the networks of the IANA special-purpose address registries
(`iana-ipv4-special-registry`, `iana-ipv6-special-registry`) but the few of them that are globally
reachable, multicast, all of IPv6 that is not global unicast, and the addresses at which clouds tell
machines their secrets. They are written down here, and not asked of `ipaddress.is_global`, whose
answers differ between releases of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
AllowedDestination = IpNetwork | str
"""A network, or the name of a host in lower case."""

LOOPBACK: Final[tuple[AllowedDestination, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1"))
"""What a developer allows whose receiver runs beside the service."""

_KEPT_VERDICTS: Final = 4_096
"""Callbacks go to few addresses, and looking one up among the networks takes 20 µs or more."""

_MAPPED_BITS: Final = 96
"""What stands before the IPv4 address in an IPv4-mapped one."""

# The first that holds an address says what it is, so the narrower ones come first.
_KINDS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("a metadata address", ("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32")),
    ("a metadata address", ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")),
    ("a metadata address", ("fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128")),
    ("an unspecified address", ("0.0.0.0/8", "::/128")),
    ("a loopback address", ("127.0.0.0/8", "::1/128")),
    ("a private address", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    ("a link-local address", ("169.254.0.0/16", "fe80::/10")),
    ("a shared address", ("100.64.0.0/10",)),
    ("a benchmarking address", ("198.18.0.0/15", "2001:2::/48")),
    ("a documentation address", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")),
    ("a documentation address", ("2001:db8::/32", "3fff::/20")),
    ("a 6to4 address", ("192.88.99.0/24", "2002::/16")),
    ("a Teredo address", ("2001::/32",)),
    ("a protocol's own address", ("192.0.0.0/24", "2001::/23")),
    ("a multicast address", ("224.0.0.0/4", "ff00::/8")),
    ("a broadcast address", ("255.255.255.255/32",)),
    ("an IPv4-mapped address", ("::ffff:0:0/96",)),
    ("an IPv4-translated address", ("::ffff:0:0:0/96",)),
    ("an IPv4-compatible address", ("::/96",)),
    ("a NAT64 address", ("64:ff9b::/96", "64:ff9b:1::/48")),
    ("a discard address", ("100::/64", "100:0:0:1::/64")),
    ("a segment routing address", ("5f00::/16",)),
    ("a unique local address", ("fc00::/7",)),
    ("a site-local address", ("fec0::/10",)),
    # Global unicast is 2000::/3; what is left on both sides of it nobody may use.
    ("a reserved address", ("240.0.0.0/4", "::/3", "4000::/2", "8000::/1")),
)
_REFUSED: Final = tuple(
    (ip_network(network), kind) for kind, networks in _KINDS for network in networks
)


class AddressGuard:
    """Says which addresses a callback must not reach, whatever notation or name led to them.

    A name in `allowed` admits whatever it resolves to, a network the addresses in it. An
    IPv4-mapped IPv6 address or network counts as IPv4 alone; one that a NAT64 or a 6to4 relay would
    turn into an IPv4 address does not.
    """

    def __init__(self, allowed: Iterable[AllowedDestination] = ()) -> None:
        entries = tuple(allowed)
        self._names = frozenset(entry for entry in entries if isinstance(entry, str))
        self._networks = [_unmapped(entry) for entry in entries if not isinstance(entry, str)]
        self._refused_kind = lru_cache(_KEPT_VERDICTS)(self._judge)

    def refusal(self, host: str, ip: str) -> str | None:
        """Name what an address is that `host` must not lead to; None: a callback may go there."""
        kind = self._refused_kind(ip)
        return None if kind and host.lower().rstrip(".") in self._names else kind

    def admits(self, ip: str) -> bool:
        """Whether a callback may go to an address that its URL names itself."""
        return self.refusal(ip, ip) is None

    def _judge(self, ip: str) -> str | None:
        try:
            address = ip_address(ip)
        except ValueError:
            return "not an IP address"
        kind = kind_of(address)
        return None if kind and self._allows(address) else kind

    def _allows(self, address: IpAddress) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)


def kind_of(address: IpAddress) -> str | None:
    """Name the kind of an address that is not public; None: it is."""
    return next((kind for network, kind in _REFUSED if address in network), None)


def _unmapped(network: IpNetwork) -> IpNetwork:
    mapped = network[0].ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
