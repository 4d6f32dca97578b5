"""What a project is: all that the keys of one consumer see, and nothing of the others'."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NewType

ProjectId = NewType("ProjectId", int)

DEFAULT_PROJECT: Final = ProjectId(0)
"""It is there from the start: all that was written before there were projects is in it."""


class Scope(StrEnum):
    """What a key may do; one that may change may read as well."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    METRICS = "metrics"
