"""The servers that a URL names, and which of them is the primary: decided without asking any."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import repeat
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_FOR_WRITING: Final = {"read-write", "primary"}
_LISTS: Final = ("host", "hostaddr", "port")


@dataclass(frozen=True, slots=True)
class Server:
    """One of the servers that a URL names; `name` is for people, and tells it from the others."""

    name: str
    conninfo: str


@dataclass(frozen=True, slots=True)
class History:
    """Which history of which cluster a server writes: each promotion begins another timeline.

    A cluster that was restored from a dump, or upgraded, is another `system`.
    """

    system: int
    timeline: int


class Verdict(Enum):
    """What a server's history is beside the one that is known."""

    SAME = auto()
    NEWER = auto()
    OLDER = auto()


def servers_of(conninfo: str) -> Sequence[Server]:
    """List the servers of a connection string, in its order.

    It is one alone if it asks for something else than a primary: then libpq chooses.
    """
    given = conninfo_to_dict(conninfo)
    lists = {name: str(given[name]).split(",") for name in _LISTS if given.get(name)}
    count = max(len(lists.get("host", "")), len(lists.get("hostaddr", "")))
    is_for_writing = given.get("target_session_attrs") in _FOR_WRITING
    if count < 2 or not is_for_writing or not _fit(lists.values(), count):
        return [Server(_name_of(given), conninfo)]
    each = [dict(zip(lists, places, strict=True)) for places in _places(lists, count)]
    return [Server(_name_of(place), make_conninfo("", **{**given, **place})) for place in each]


def judge(known: History | None, told: History | None) -> Verdict:
    """Compare what a server tells with what is known; what does not tell is believed.

    Which of two clusters is the newer one nobody can tell: the one that answers now counts.
    """
    if told is None or told == known:
        return Verdict.SAME
    if known is None or told.system != known.system or told.timeline > known.timeline:
        return Verdict.NEWER
    return Verdict.OLDER


def newest(told: Mapping[str, History]) -> str | None:
    """Choose the server that has the highest timeline; of several clusters, in the first one."""
    if not told:
        return None
    system = next(iter(told.values())).system
    mine = {name: history.timeline for name, history in told.items() if history.system == system}
    return max(mine, key=lambda name: mine[name])


def ordered(servers: Sequence[Server], names: Sequence[str]) -> Sequence[Server]:
    """Sort servers as their names are; whoever is not among these comes last."""
    places = {name: place for place, name in enumerate(names)}
    return sorted(servers, key=lambda server: places.get(server.name, len(places)))


def _fit(lists: Collection[Sequence[str]], count: int) -> bool:
    """Whether there is one of each for each server, or one port for all: else libpq complains."""
    return all(len(each) in {1, count} for each in lists)


def _places(lists: Mapping[str, Sequence[str]], count: int) -> Iterator[tuple[str, ...]]:
    columns = (repeat(each[0], count) if len(each) == 1 else each for each in lists.values())
    return zip(*columns, strict=False)


def _name_of(given: Mapping[str, Any]) -> str:
    host = given.get("host") or given.get("hostaddr") or "localhost"
    return f"{host}:{given.get('port') or 5432}"
