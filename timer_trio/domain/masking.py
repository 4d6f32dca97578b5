"""Which values of headers are credentials: shown to administrators alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

MASK: Final = "…"
"""Stands for a value. No header can have it, since it is not ASCII."""

Sensitive = frozenset[str]
"""Names of headers as `_folded` has them."""

USUAL: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"}
)
"""What is masked whatever an operator adds."""
NOTHING: Final[Sensitive] = frozenset()
"""What is masked for an administrator."""


def _folded(name: str) -> str:
    # Servers of the CGI kind read an underscore as a hyphen.
    return name.lower().replace("_", "-")


def sensitive_headers(more: Iterable[str] = ()) -> Sensitive:
    """Return the headers that carry credentials, and whatever an operator counts among them."""
    return USUAL | frozenset(map(_folded, more))


def shown_headers(headers: Mapping[str, str], sensitive: Sensitive) -> dict[str, str]:
    """Return headers as they are shown."""
    return {name: _shown(name, value, sensitive) for name, value in headers.items()}


def shown_pairs(
    headers: Iterable[tuple[str, str]], sensitive: Sensitive
) -> Sequence[tuple[str, str]]:
    """Return the headers of an answer as they are shown."""
    return [(name, _shown(name, value, sensitive)) for name, value in headers]


def _shown(name: str, value: str, sensitive: Sensitive) -> str:
    return MASK if _folded(name) in sensitive else value
