"""Where there are many of a kind `make test` runs a sample, the same each time; `make soak` all."""

from __future__ import annotations

import os
from typing import Final
from zlib import crc32

WHOLE: Final = bool(os.environ.get("TESTS_WHOLE"))


def is_sampled(case: int | str, *, of: int) -> bool:
    """Whether a case is tried: one of so many by default, all of them by `make soak`."""
    number = case if isinstance(case, int) else crc32(case.encode())
    return WHOLE or number % of == 0
