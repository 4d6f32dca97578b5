"""What a flow is: timers that people hold back and limit together, all of them in one shard."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, NamedTuple, NewType

from timer_trio.domain.errors import FlowFixedError
from timer_trio.domain.project import ProjectId

FlowKey = NewType("FlowKey", str)
"""What a consumer calls a flow of his project: 1 to 255 characters."""


Terms = Mapping[int, int]
"""Of shards, the numbers of terms in which one replica claims of flows there."""
NO_TERM: Final = 0
"""The number that no term has."""


class FlowId(NamedTuple):
    """Which flow, among those of all projects."""

    project: ProjectId
    key: FlowKey


def flow_shard(project: ProjectId, key: FlowKey) -> int:
    """Return the shard of all timers of a flow: the last byte of their ids.

    It is the same in every release: timers that were written long ago have it.
    """
    name = f"{project}:{key}".encode(errors="surrogatepass")
    return blake2b(name, digest_size=1).digest()[0]


def refuse_other_flow(known: FlowKey | None, wanted: FlowKey | None) -> None:
    """Check that a change names no other flow than something is in; None names none.

    Raises:
        FlowFixedError: it does.
    """
    if wanted is not None and wanted != known:
        raise FlowFixedError
