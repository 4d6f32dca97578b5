"""What a callback's URL and headers may be, each with its check and its schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo

from timer_trio.api.errors import shown
from timer_trio.api.fields.rules import Rules
from timer_trio.callback_url import read_url
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.host_names import is_host
from timer_trio.domain.masking import MASK
from timer_trio.domain.project import ProjectSettings
from timer_trio.domain.timer import CallbackUrl as ReadUrl
from timer_trio.domain.timer import Destination
from timer_trio.transport.resolver import numeric

MAX_URL_LENGTH: Final = 2_048
MAX_HEADERS: Final = 50
MAX_HEADER_BYTES: Final = 8_192
_MAX_NAMED: Final = 300

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_AUTHORITY: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_DESTINATION: Final = re.compile(rf"{_AUTHORITY.pattern}/?", re.IGNORECASE)
_SPACE_OR_CONTROL: Final = re.compile(r"[\s\x00-\x20\x7f-\x9f\\]")
_OTHER_DOTS: Final = re.compile("[\u3002\uff0e\uff61]")
"""IDNA takes them for dots, which no reader of the URL can see."""

# The transport frames the message and picks the receiver: a header that says otherwise would lie.
# An expectation would have the callback wait for an answer before its own body.
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_UNSPEAKABLE: Final = "{name} must hold only visible ASCII characters, spaces and tabs"
_MASKED: Final = (
    "{name} is … where its value is not shown to this key: leave the headers out and they stay as"
    " they are, or send the value itself"
)
_OWN_PREFIXES: Final = ("webhook-", "x-timer-")


def check_url(url: str, guard: AddressGuard) -> str:
    """Return the URL as it is, if a callback can and may be sent there.

    A name may still lead to an address that is refused: that shows when it is called.

    Raises:
        ValueError: it cannot, or names an address that callbacks must not reach.
    """
    host = _host_of(url)
    for ip in _addresses_in(host):
        if kind := guard.refusal(host, ip):
            raise ValueError(
                f"must not lead to {ip}, {kind}: to admit it, the operator adds {ip} to "
                "CALLBACK_ALLOW"
            )
    return url


def parse_destination(text: str) -> Destination:
    """Read scheme, host and port; the port that the scheme implies may be left out.

    Raises:
        ValueError: no callback can go there, or there is more than that.
    """
    _host_of(text)
    if not _DESTINATION.fullmatch(text):
        raise ValueError("must be scheme, host and port alone, such as https://example.com:443")
    return read_url(text).destination


@lru_cache(maxsize=1_024)  # a consumer has few callback URLs
def _host_of(url: str) -> str:
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"must be at most {MAX_URL_LENGTH:,} characters long")
    if _SPACE_OR_CONTROL.search(url):
        raise ValueError("must not hold spaces, control characters or backslashes")
    authority = _AUTHORITY.match(url)
    if authority is None:
        raise ValueError("must begin with http:// or https://")
    read = read_url(url)
    _check_authority(authority[1], read)
    return read.host


@lru_cache(maxsize=1_024)  # likewise, and of fewer hosts
def _addresses_in(host: str) -> tuple[str, ...]:
    """Read a host that is an address itself, in whatever notation; none: it is a name."""
    return tuple(ip for ip, _ in numeric(host.removesuffix(".")) or ())


def _check_authority(authority: str, read: ReadUrl) -> None:
    if "@" in authority:
        raise ValueError("must not hold credentials: send them in the headers")
    if "%" in authority:
        raise ValueError("must name its host plainly, without zone or escapes")
    if not _is_plain(authority) or not _is_host(read.host):
        raise ValueError("must name a valid host")
    if read.port == 0:
        raise ValueError("must not name port 0")


def _is_plain(authority: str) -> bool:
    """Whether people see the host that the callback is sent to."""
    return authority.isprintable() and not _OTHER_DOTS.search(authority)


def _is_host(host: str) -> bool:
    # With a colon it is an address, which the reader has checked.
    return ":" in host or is_host(host.removesuffix("."))


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers as they are, if a callback can carry them.

    Raises:
        ValueError: it cannot.
    """
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"must be at most {MAX_HEADERS} headers")
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise ValueError(f"must be at most {MAX_HEADER_BYTES:,} bytes in all")
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if name.lower() in seen:
            raise ValueError(f"{shown(name)} appears twice: header names do not know case")
        seen.add(name.lower())
    return headers


def _check_header(name: str, value: str) -> None:
    if wrong := _fault_of(name, value):
        raise ValueError(wrong.format(name=shown(name)))


def _fault_of(name: str, value: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "every name must be a token of letters, digits and !#$%&'*+-.^_`|~"
    # Servers of the CGI kind read an underscore as a hyphen.
    folded = name.lower().replace("_", "-")
    if folded in _RESERVED:
        return "{name} is set by the service and cannot be chosen"
    if folded.startswith(_OWN_PREFIXES):
        return "{name} is reserved: webhook-* and X-Timer-* are the service's own"
    if not _VALUE.fullmatch(value):
        return _MASKED if value == MASK else _UNSPEAKABLE
    if value != value.strip(" \t"):
        return "{name} must not begin or end with a space or tab"
    return None


def _url(value: str, info: ValidationInfo) -> str:
    if not isinstance(info.context, Rules):
        # No ValueError, which would be the consumer's: who reads a URL must bring the rules.
        raise TypeError("the operator's rules are missing")
    check_url(value, info.context.guard)
    _check_allowed(_host_of(value), info.context.settings)
    return value


def _check_allowed(host: str, settings: ProjectSettings) -> None:
    if settings.allowed_hosts is None or settings.allows(_folded(host)):
        return
    names = ", ".join(settings.allowed_hosts)
    raise ValueError(f"must lead to a host that the project allows: {names[:_MAX_NAMED]}")


def _folded(host: str) -> str:
    return str(ip_address(host)) if ":" in host else host.lower().removesuffix(".")


def _headers(value: dict[str, str] | None) -> Mapping[str, str]:
    return check_headers(value or {})


CallbackUrl = Annotated[
    str,
    AfterValidator(_url),
    Field(
        description="Where to call back: http:// or https://, without credentials. An address that "
        "is not public is refused, unless the operator allows it.",
        examples=["https://example.com/hooks/reminder"],
        json_schema_extra={"format": "uri", "minLength": 1, "maxLength": MAX_URL_LENGTH},
    ),
]
CallbackHeaders = Annotated[
    dict[str, str] | None,
    AfterValidator(_headers),
    Field(
        description="Headers of the callback, 8 KiB in all. Hop-by-hop names, Host, Content-Length,"
        " Expect, webhook-* and X-Timer-* are refused. null: none. Values of Authorization, Cookie,"
        " X-Api-Key and the like are shown as … to keys that are no administrator's; sent as … they"
        " are refused.",
        examples=[{"Authorization": "Bearer token-of-the-receiver"}],
        json_schema_extra={"maxProperties": MAX_HEADERS},
    ),
]
