"""How often one may do what is not to be done often: a bucket of tokens each."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_OTHERS: Final = ""


class TokenBuckets:
    """A bucket of `burst` tokens for each name, to which `per_s` a second come back.

    At most `most` names are remembered, which are those that took one of late: others that come
    while there are so many share one bucket.
    """

    def __init__(self, *, per_s: float, burst: int, most: int) -> None:
        self._token_s = 1 / per_s
        self._burst_s = burst / per_s
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str, now_s: float) -> float:
        """Take a token at `now_s`; if there is none, answer in how many seconds there will be."""
        name = self._remembered(name, now_s)
        full_at = max(self._full_at.get(name, now_s), now_s) + self._token_s
        if (wait_s := full_at - now_s - self._burst_s) > 0:
            return wait_s
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        return 0.0

    def _remembered(self, name: str, now_s: float) -> str:
        if name in self._full_at:
            return name
        # None behind the first is full much earlier: each is so a burst after it was touched.
        while self._full_at and next(iter(self._full_at.values())) <= now_s:
            self._full_at.popitem(last=False)
        return name if len(self._full_at) < self._most else _OTHERS
