"""Reads the .sql files beside it: what follows `-- name: x` is the query x, without comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

from psycopg.sql import SQL

from timer_trio.storage.columns import with_columns


def _parse(text: str) -> Mapping[str, bytes]:
    _, *parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    queries = zip(parts[::2], parts[1::2], strict=True)
    return MappingProxyType({name: _without_comments(query) for name, query in queries})


def _without_comments(query: str) -> bytes:
    lines = [line for line in query.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().removesuffix(";").encode()


_PARTS: Final = ("occurrences", "of_flow", "history_columns", "due_again")
"""What several statements have, each where it is named in braces."""


def _with_parts(written: Mapping[str, bytes]) -> dict[str, bytes]:
    whole = dict(written)
    for part in _PARTS:
        place = f"{{{part}}}".encode()
        whole = {name: query.replace(place, written[part]) for name, query in whole.items()}
    return whole


_OF_COUNTED: Final = {
    b"{counted}": b", is_counted",
    b"{counted:value}": b", true",
    b"{counted:set}": b", is_counted = true",
}
"""What statements say besides that write timers which are counted; the others say nothing of it."""


def _uncounted(query: bytes) -> bytes:
    for place in _OF_COUNTED:
        query = query.replace(place, b"")
    return query


def _counted(query: bytes) -> bytes:
    for place, words in _OF_COUNTED.items():
        query = query.replace(place, words)
    return query


def _skipping(query: bytes) -> bytes:
    return re.sub(rb"FOR NO KEY UPDATE OF \w+", rb"\g<0> SKIP LOCKED", query)


def _claiming_occurrences(written: Mapping[str, bytes]) -> bytes:
    """Put in what is returned of occurrences besides."""
    claim = written["claim"].replace(
        b"t.project\n),", b"t.project,\n        " + written["claimed_occurrence"] + b"\n),"
    )
    told = b",\n    taken.schedule_id, taken.occurs_at, taken.is_superseded"
    return claim.replace(b"\nFROM me\nLEFT JOIN", told + b"\nFROM me\nLEFT JOIN")


def _claiming_flows(claim: bytes, held_terms: bytes) -> bytes:
    """Have a claim take what is in flows, of the shards whose terms are its replica's."""
    claim = claim.replace(b"\nasked AS (", b"\n" + held_terms + b",\nasked AS (")
    joined = b"ON t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id\n"
    begin, sep, rest = claim.partition(b"\nasked AS (")
    rest = rest.replace(joined, joined + b"    LEFT JOIN terms ON terms.shard = t.shard\n", 1)
    return begin + sep + rest.replace(b"t.flow_key IS NULL AS", b"terms.shard IS NOT NULL AS")


_OF_A_FAILURE: Final = b"failures smallint, first_due_at timestamptz"


def _settling_whole(written: Mapping[str, bytes]) -> bytes:
    """Put in what is written of failures, and beside the timers' rows."""
    update, answer = written["settle"].rsplit(b"\n)\n", 1)
    update = update.replace(b"duration_ms integer", b"duration_ms integer, " + _OF_A_FAILURE)
    update = update.replace(b"updated_at = %(now)s", written["settle_failures"])
    return b"\n".join([update, b"),", written["beside_settle"], answer])


def _written() -> Iterator[str]:
    for file in resources.files(__package__).iterdir():
        if file.name.endswith(".sql"):
            yield file.read_text("utf-8")


_WHOLE: Final = _with_parts(_parse(with_columns("".join(_written()))))
_WRITTEN: Final = {name: _uncounted(query) for name, query in _WHOLE.items()}
_WRITE_COUNTED: Final = (
    "create",
    "create_many",
    "create_keyed",
    "create_named",
    "new_occurrences",
    "redriven",
)
_SETTLE_WHOLE: Final = _settling_whole(_WRITTEN)
_CLAIM_OCCURRENCES: Final = _claiming_occurrences(_WRITTEN)
_CLAIMS: Final = {
    "claim": _WRITTEN["claim"],
    "claim_occurrences": _CLAIM_OCCURRENCES,
    "claim_exclusive": _WRITTEN["claim_exclusive"],
}
_FLOW_CLAIMS: Final = {
    f"{name}_in_flows": _claiming_flows(claim, _WRITTEN["held_terms"])
    for name, claim in _CLAIMS.items()
}
_ALL_CLAIMS: Final = {**_CLAIMS, **_FLOW_CLAIMS}
QUERIES: Final = {
    **_WRITTEN,
    **_ALL_CLAIMS,
    **{f"{name}_unlocked": _skipping(claim) for name, claim in _ALL_CLAIMS.items()},
    **{f"{name}_counted": _counted(_WHOLE[name]) for name in _WRITE_COUNTED},
    "settle_whole": _SETTLE_WHOLE,
    "settle_unlocked": _skipping(_WRITTEN["settle"]),
    "settle_whole_unlocked": _skipping(_SETTLE_WHOLE),
    "session": _WRITTEN["session"].replace(b"{of_server}", _WRITTEN["of_server"]),
    "session_untold": _WRITTEN["session"].replace(b"{of_server}", b""),
}
"""The text of each query by its name; of claims also the form for flows, of claims and settles the
form that waits for no row, of what writes timers that for those that are counted, and of a
session's first statement that for servers that tell nothing of themselves."""


def template(name: str) -> SQL:
    """Return a query with names in braces, to be filled in: what has none is run as it stands."""
    return SQL(QUERIES[name].decode())
