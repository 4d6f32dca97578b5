"""What callbacks must not reach: hosts as a URL may spell them, and the addresses that they are."""

from __future__ import annotations

from typing import Final, NamedTuple


class Refused(NamedTuple):
    """A host in a URL, the address that it is, and what kind of address that is."""

    host: str
    ip: str
    kind: str


_LOOPBACK: Final = "a loopback address"
_METADATA: Final = "a metadata address"
_PRIVATE: Final = "a private address"
_UNSPECIFIED: Final = "an unspecified address"
_LINK_LOCAL: Final = "a link-local address"
_SHARED: Final = "a shared address"
_BENCHMARK: Final = "a benchmarking address"
_EXAMPLE: Final = "a documentation address"
_PROTOCOL: Final = "a protocol's own address"
_MULTICAST: Final = "a multicast address"
_RESERVED: Final = "a reserved address"
_MAPPED: Final = "an IPv4-mapped address"
_COMPATIBLE: Final = "an IPv4-compatible address"
_TRANSLATED: Final = "an IPv4-translated address"
_NAT64: Final = "a NAT64 address"
_6TO4: Final = "a 6to4 address"
_TEREDO: Final = "a Teredo address"
_UNIQUE: Final = "a unique local address"

NUMERIC: Final = (
    # One address in all the notations that the system reads.
    Refused("127.0.0.1", "127.0.0.1", _LOOPBACK),
    Refused("127.0.0.1.", "127.0.0.1", _LOOPBACK),
    Refused("127.1", "127.0.0.1", _LOOPBACK),
    Refused("127.0.1", "127.0.0.1", _LOOPBACK),
    Refused("2130706433", "127.0.0.1", _LOOPBACK),
    Refused("2130706433.", "127.0.0.1", _LOOPBACK),
    Refused("0x7f000001", "127.0.0.1", _LOOPBACK),
    Refused("0x7F000001", "127.0.0.1", _LOOPBACK),
    Refused("0x7f.1", "127.0.0.1", _LOOPBACK),
    Refused("0X7F.1", "127.0.0.1", _LOOPBACK),
    Refused("0x7f.0x0.0x0.0x1", "127.0.0.1", _LOOPBACK),
    Refused("127.0.0x1", "127.0.0.1", _LOOPBACK),
    Refused("017700000001", "127.0.0.1", _LOOPBACK),
    Refused("0177.1", "127.0.0.1", _LOOPBACK),
    Refused("0177.0.0x1", "127.0.0.1", _LOOPBACK),
    Refused("127.255.255.254", "127.255.255.254", _LOOPBACK),
    Refused("0.0.0.0", "0.0.0.0", _UNSPECIFIED),  # noqa: S104 - refused
    Refused("0", "0.0.0.0", _UNSPECIFIED),  # noqa: S104 - refused
    Refused("0x0", "0.0.0.0", _UNSPECIFIED),  # noqa: S104 - refused
    Refused("0.1", "0.0.0.1", _UNSPECIFIED),
    Refused("10.0.0.7", "10.0.0.7", _PRIVATE),
    Refused("10.7", "10.0.0.7", _PRIVATE),
    Refused("167772167", "10.0.0.7", _PRIVATE),
    Refused("172.16.0.1", "172.16.0.1", _PRIVATE),
    Refused("172.31.255.255", "172.31.255.255", _PRIVATE),
    Refused("192.168.1.1", "192.168.1.1", _PRIVATE),
    Refused("192.168.257", "192.168.1.1", _PRIVATE),
    Refused("0300.0xa8.0x101", "192.168.1.1", _PRIVATE),
    Refused("169.254.169.254", "169.254.169.254", _METADATA),
    Refused("2852039166", "169.254.169.254", _METADATA),
    Refused("0xa9fea9fe", "169.254.169.254", _METADATA),
    Refused("0xa9.254.43518", "169.254.169.254", _METADATA),
    Refused("169.254.170.2", "169.254.170.2", _METADATA),
    Refused("100.100.100.200", "100.100.100.200", _METADATA),
    Refused("168.63.129.16", "168.63.129.16", _METADATA),
    Refused("169.254.0.1", "169.254.0.1", _LINK_LOCAL),
    Refused("100.64.0.1", "100.64.0.1", _SHARED),
    Refused("100.127.255.255", "100.127.255.255", _SHARED),
    Refused("198.18.0.1", "198.18.0.1", _BENCHMARK),
    Refused("198.19.255.255", "198.19.255.255", _BENCHMARK),
    Refused("192.0.2.1", "192.0.2.1", _EXAMPLE),
    Refused("198.51.100.1", "198.51.100.1", _EXAMPLE),
    Refused("203.0.113.1", "203.0.113.1", _EXAMPLE),
    Refused("192.0.0.8", "192.0.0.8", _PROTOCOL),
    Refused("192.88.99.1", "192.88.99.1", _6TO4),
    Refused("224.0.0.1", "224.0.0.1", _MULTICAST),
    Refused("239.255.255.250", "239.255.255.250", _MULTICAST),
    Refused("240.0.0.1", "240.0.0.1", _RESERVED),
    Refused("255.255.255.255", "255.255.255.255", "a broadcast address"),
    Refused("4294967295", "255.255.255.255", "a broadcast address"),
    Refused("[::1]", "::1", _LOOPBACK),
    Refused("[0:0:0:0:0:0:0:1]", "::1", _LOOPBACK),
    Refused("[0000::1]", "::1", _LOOPBACK),
    Refused("[::]", "::", _UNSPECIFIED),
    Refused("[::127.0.0.1]", "::127.0.0.1", _COMPATIBLE),
    Refused("[::7f00:1]", "::127.0.0.1", _COMPATIBLE),
    Refused("[::ffff:127.0.0.1]", "::ffff:127.0.0.1", _MAPPED),
    Refused("[::ffff:7f00:1]", "::ffff:127.0.0.1", _MAPPED),
    Refused("[0:0:0:0:0:ffff:a9fe:a9fe]", "::ffff:169.254.169.254", _MAPPED),
    Refused("[::ffff:8.8.8.8]", "::ffff:8.8.8.8", _MAPPED),
    Refused("[::FFFF:127.0.0.1]", "::ffff:127.0.0.1", _MAPPED),
    Refused("[::ffff:0:127.0.0.1]", "::ffff:0:7f00:1", _TRANSLATED),
    Refused("[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1", _NAT64),
    Refused("[64:ff9b::808:808]", "64:ff9b::808:808", _NAT64),
    Refused("[64:ff9b:1::a00:7]", "64:ff9b:1::a00:7", _NAT64),
    Refused("[2002:7f00:1::]", "2002:7f00:1::", _6TO4),
    Refused("[2002:808:808::1]", "2002:808:808::1", _6TO4),
    Refused("[2001:0:53aa:64c::1]", "2001:0:53aa:64c::1", _TEREDO),
    Refused("[2001:2::1]", "2001:2::1", _BENCHMARK),
    Refused("[2001:10::1]", "2001:10::1", _PROTOCOL),
    Refused("[2001:20::1]", "2001:20::1", _PROTOCOL),
    Refused("[2001:db8::1]", "2001:db8::1", _EXAMPLE),
    Refused("[3fff::1]", "3fff::1", _EXAMPLE),
    Refused("[100::1]", "100::1", "a discard address"),
    Refused("[5f00::1]", "5f00::1", "a segment routing address"),
    Refused("[fc00::1]", "fc00::1", _UNIQUE),
    Refused("[fdff:ffff::1]", "fdff:ffff::1", _UNIQUE),
    Refused("[fd00:ec2::254]", "fd00:ec2::254", _METADATA),
    Refused("[fd20:ce::254]", "fd20:ce::254", _METADATA),
    Refused("[fe80::1]", "fe80::1", _LINK_LOCAL),
    Refused("[fec0::1]", "fec0::1", "a site-local address"),
    Refused("[ff02::1]", "ff02::1", _MULTICAST),
    Refused("[4000::1]", "4000::1", _RESERVED),
    Refused("[1::2]", "1::2", _RESERVED),
)
"""Notations that the system takes for an address, so that a URL with them names it."""

MALFORMED: Final = (
    Refused("0177.0.0.1", "127.0.0.1", _LOOPBACK),
    Refused("127.000.000.001", "127.0.0.1", _LOOPBACK),
    Refused("127.0.0.1..", "127.0.0.1", _LOOPBACK),
    Refused("127.0.0.1%00", "127.0.0.1", _LOOPBACK),
    Refused("127.0.0.1%2e", "127.0.0.1", _LOOPBACK),
    Refused("%31%32%37.0.0.1", "127.0.0.1", _LOOPBACK),
    Refused("127\u30020\u30020\u30021", "127.0.0.1", _LOOPBACK),
    Refused("127\uff0e0\uff0e0\uff0e1", "127.0.0.1", _LOOPBACK),
    Refused("\uff11\uff12\uff17.0.0.1", "127.0.0.1", _LOOPBACK),
    Refused("\u2460\u2461\u2466.0.0.1", "127.0.0.1", _LOOPBACK),
    Refused("\u246b7.1", "127.0.0.1", _LOOPBACK),
    Refused("\uff10x7f.1", "127.0.0.1", _LOOPBACK),
    Refused("\U0001d7cf\U0001d7d0\U0001d7d5.1", "127.0.0.1", _LOOPBACK),
    Refused("127.0.0.1\u00ad", "127.0.0.1", _LOOPBACK),
    Refused("[fe80::1%eth0]", "fe80::1", _LINK_LOCAL),
    Refused("[fe80::1%25eth0]", "fe80::1", _LINK_LOCAL),
    Refused("[::1].", "::1", _LOOPBACK),
    Refused("::1", "::1", _LOOPBACK),
    Refused("example.com@127.0.0.1", "127.0.0.1", _LOOPBACK),
    Refused("example.com\\@127.0.0.1", "127.0.0.1", _LOOPBACK),
)
"""What some reader takes for an address, and the API for no host at all."""

REFUSED: Final = NUMERIC + MALFORMED
