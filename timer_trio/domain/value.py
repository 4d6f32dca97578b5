"""Values of which thousands are made in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from collections.abc import Callable
    from dataclasses import dataclass

    def value(**options: bool) -> Callable[[type], type]:
        """Make a dataclass that is frozen for whoever reads the code, and not when it runs.

        To set a field of a frozen one takes four times as long, and a callback has forty.
        """
        return dataclass(**{**options, "frozen": False, "unsafe_hash": True})


__all__ = ["value"]
