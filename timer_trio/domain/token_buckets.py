"""How often one may do what is not to be done often: a bucket of tokens each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

_OTHERS: Final = ""
_WHOLE: Final = 1 - 1e-6
"""Of a token: what sums of fractions leave of one that is due now."""

K = TypeVar("K", bound=Hashable)


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


class Filling(NamedTuple):
    """How many tokens come back to a bucket, and how many it holds at most: at least one."""

    per_s: float
    burst: float


class Taken(NamedTuple):
    """What is left after a token was taken; `wait_s`: none was, and there is one so much later."""

    left: float
    full_in_s: float
    wait_s: float = 0.0


class _Bucket(NamedTuple):
    left: float
    at_s: float

    def left_at(self, now_s: float, filling: Filling) -> float:
        return min(self.left + max(now_s - self.at_s, 0.0) * filling.per_s, filling.burst)


class ChangingBuckets(Generic[K]):
    """A bucket for each name, and with each token how it has been filled since the last one.

    What a bucket holds beyond a new burst is lost; a greater one fills in its time. At most `most`
    are remembered, those of whom a token was asked last: whoever comes back after that is full.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._buckets: OrderedDict[K, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: K, filling: Filling, now_s: float) -> Taken:
        """Take a token of a bucket at `now_s`, if there is one."""
        per_s, burst = filling
        last = self._buckets.pop(name, None)
        left = burst if last is None else last.left_at(now_s, filling)
        is_taken = left >= _WHOLE
        wait_s = 0.0 if is_taken else (1 - left) / per_s
        left = max(left - 1, 0.0) if is_taken else left
        if last is None and len(self._buckets) >= self._most:
            self._buckets.popitem(last=False)
        self._buckets[name] = _Bucket(left, now_s)
        return Taken(left, (burst - left) / per_s, wait_s)
