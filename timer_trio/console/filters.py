"""From the filters of a list of timers, as a page has them, to the parameters of the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from timer_trio.console.forms import instant

TEXTS: Final = (
    *("status", "destination", "key", "flow_key", "schedule_id", "http_status", "last_error"),
)
INSTANTS: Final = (
    *("created_after", "created_before", "execute_after", "execute_before"),
    *("ended_after", "ended_before"),
)
ORDERS: Final = ("sort", "order")
METADATA: Final = "metadata"
"""A line for each key: its name, an equals sign, its value."""
_OF_METADATA: Final = "metadata."
_OF_PAGE: Final = frozenset({*ORDERS, "cursor", "limit", "action"})

Pairs = Sequence[tuple[str, str]]


def asked_of(given: Mapping[str, str]) -> Pairs:
    """Return the parameters of GET /timers that a page's own stand for; empty ones ask nothing.

    What is none of them goes on as it is, so that the API says so.
    """
    return [*_asked(given)]


def _asked(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        text = value.strip()
        if not text:
            continue
        if name == METADATA:
            yield from _metadata(text)
        elif name in INSTANTS:
            yield name, instant(text)
        else:
            yield name, text


def _metadata(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip():
            yield f"{_OF_METADATA}{name.strip()}", value.strip()


def filter_of(asked: Pairs) -> dict[str, str]:
    """Return which timers are asked for, without how they are shown."""
    return {name: value for name, value in asked if name not in _OF_PAGE}


def fields_of(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the fields of the page's form hold."""
    fields = {name: given.get(name, "") for name in (*TEXTS, *INSTANTS, *ORDERS)}
    fields |= {name: fields[name].removesuffix("Z") for name in INSTANTS}
    links = (
        f"{name.removeprefix(_OF_METADATA)}={value}"
        for name, value in given.items()
        if name.startswith(_OF_METADATA)
    )
    fields[METADATA] = "\n".join(filter(None, [given.get(METADATA, "").strip(), *links]))
    return fields


def link(path: str, given: Mapping[str, str], **changed: str) -> str:
    """Return the address of a page with these parameters, some of them changed or taken away."""
    pairs = [(name, value) for name, value in {**given, **changed}.items() if value]
    return f"{path}?{urlencode(pairs)}" if pairs else path
