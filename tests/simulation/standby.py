"""An asynchronous standby: the database in memory as it was a while ago."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.simulation.far_end import START
from timer_trio.storage.memory import MemoryStorage

_SESSIONS: Final = {"_now", "_listening", "locked"}
"""What is no data: who listens and who locks rows."""
_DATA: Final = vars(MemoryStorage(lambda: START)).keys() - _SESSIONS


def copied(database: MemoryStorage) -> Mapping[str, Any]:
    """Copy all data; rows are never changed, only replaced."""
    return {name: _copy(getattr(database, name)) for name in _DATA}


def restore(database: MemoryStorage, data: Mapping[str, Any]) -> None:
    """Let a database be what it was when its data was copied."""
    for name, value in data.items():
        setattr(database, name, _copy(value))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copy(each) for each in value]
    return set(value) if isinstance(value, set) else value
