"""Which release a replica is of, and who is too old."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_RELEASE: Final = re.compile(r"\d+(?:\.\d+)*")

_NAMED: Final = 3
"""Tables or replicas that are named: enough to recognise them by."""


def is_older(version: str, release: str) -> bool:
    """Whether code of this version is older than a release.

    A development version counts as the release that it becomes; one that nobody has told as older
    than all.
    """
    return _numbers(version) < _numbers(release)


def listed(names: Sequence[str]) -> str:
    """Write down the first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _numbers(version: str) -> tuple[int, ...]:
    match = _RELEASE.match(version)
    return tuple(map(int, match[0].split("."))) if match else ()
