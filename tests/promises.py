"""The promises that simulated and real replicas are held to alike.

Each names what broke it, or tells a figure.

Timers go by the name that their violations are to call them by. What only one kind of test can see
is checked beside that kind's own record: tests/simulation/checkers.py, tests/chaos/checks.py.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from timer_trio.domain.timer import ENDED, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A callback that went out; instants in seconds of one clock. `process`: who sent it, if known.

    `is_once`: the timer was at_most_once then.
    """

    timer_id: str
    webhook_id: str
    attempt: int
    due_s: float
    sent_s: float
    is_once: bool
    process: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a timer stands in the database at the very end; `status` is None if it is not there."""

    status: str | None
    last_error: str | None = None


SentByTimer = Mapping[str, Sequence[Sent]]
"""What was sent of each timer, in that order."""


def never_early(sent: SentByTimer, rounding_s: float = 0.0) -> Iterator[str]:
    """Nothing is sent before its instant."""
    for name, sends in sent.items():
        for send in sends:
            early_s = send.due_s - send.sent_s
            if early_s > rounding_s:
                yield f"{name} was sent {early_s:.6f} s early"


def all_ended(endings: Mapping[str, Ending]) -> Iterator[str]:
    """Every acknowledged timer is there and has ended, with words if it failed."""
    for name, ending in endings.items():
        if ending.status is None:
            yield f"{name} was acknowledged and is lost"
        elif ending.status not in ENDED:
            yield f"{name} is stuck: {ending.status}"
        elif ending.status == Status.FAILED and not ending.last_error:
            yield f"{name} failed without a word"


def sent_again_with_excuse(
    sent: SentByTimer, is_excused: Callable[[Sent, Sent], bool]
) -> Iterator[str]:
    """No timer is sent again, unless nobody could know the outcome of the send before."""
    for name, sends in sent.items():
        if not all(is_excused(before, after) for before, after in pairwise(sends)):
            attempts = [(send.attempt, send.process) for send in sends]
            yield f"{name} was sent {len(sends)} times: {attempts}"


def at_most_once(sent: SentByTimer) -> Iterator[str]:
    """What may be sent at most once is, whatever the excuse."""
    for name, sends in sent.items():
        if any(send.is_once for send in sends[1:]):
            yield f"{name} was sent {len(sends)} times, at most once allowed"


def one_webhook_id(sent: SentByTimer) -> Iterator[str]:
    """Every attempt of a timer carries the same webhook-id: the timer's own."""
    for name, sends in sent.items():
        names = {send.timer_id for send in sends} | {send.webhook_id for send in sends}
        if len(names) > 1:
            yield f"{name} was sent under several webhook-ids"


def canceled_is_not_sent(name: str, versions_sent: Collection[int]) -> Iterator[str]:
    """A timer whose cancel was acknowledged is never sent."""
    if versions_sent:
        yield f"{name} was sent, though its cancel was acknowledged"


def sent_as_told(
    name: str, versions_sent: Collection[int], allowed: Collection[int]
) -> Iterator[str]:
    """A timer is sent as its last acknowledged change, or a later one in doubt, left it."""
    for version in versions_sent:
        if version not in allowed:
            yield f"{name} was sent as version {version}, of {sorted(allowed)} that may be"


def most_overtaken(due_s: Iterable[float]) -> int:
    """Tell by how many younger ones the unluckiest of some timers was overtaken.

    `due_s`: their instants, in the order in which they were sent.
    """
    came: list[float] = []
    most = 0
    for instant_s in due_s:
        most = max(most, len(came) - bisect_right(came, instant_s))
        insort(came, instant_s)
    return most
