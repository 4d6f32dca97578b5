"""A part of a database that tells of what is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Noted(dict[K, V]):
    """Tells of what is put into it, before it is there, and of what is taken out."""

    def __init__(
        self, on_put: Callable[[K, V], None], on_pop: Callable[[K], None] = lambda _: None
    ) -> None:
        super().__init__()
        self._on_put = on_put
        self._on_pop = on_pop

    def __setitem__(self, key: K, value: V) -> None:
        self._on_put(key, value)
        super().__setitem__(key, value)

    def pop(self, key: K, *default: V) -> V:  # type: ignore[override]
        self._on_pop(key)
        return super().pop(key, *default)
