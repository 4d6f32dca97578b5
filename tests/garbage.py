"""What is left to the collector: whose pauses make timers late."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

OURS: Final = ("timer_trio.", "httptools.")


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if objects of ours are left to the collector."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert {name: count for name, count in left.items() if name.startswith(OURS)} == {}
