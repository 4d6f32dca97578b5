"""Time zones as the tzdata package has them, whatever the machine's own files say.

So all replicas with the same packages come to the same instants. `zoneinfo` itself would prefer the
machine's files, and its search path is the whole process's.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

from timer_trio.calendar.rule_error import RuleError


def zone_data_version() -> str:
    """Return the release of the IANA data, such as `2026a`."""
    return tzdata.IANA_VERSION


@cache  # there are 600 at most: a name that is none is not kept
def zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        RuleError: the data has no zone of this name.
    """
    if name not in _names():
        raise RuleError("timezone", _unknown(name))
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _unknown(name: str) -> str:
    spelled = _spellings().get(name.casefold())
    hint = f"did you mean {spelled}?" if spelled else "take an IANA name, such as Europe/Berlin"
    return f"is no time zone of the IANA data {zone_data_version()}: {hint}"


@cache
def _names() -> frozenset[str]:
    names = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(names) - {"Factory"}  # which says that nobody has set a zone


@cache
def _spellings() -> dict[str, str]:
    return {name.casefold(): name for name in _names()}
