"""The promises of redrives, bulk actions, keys, names and results, held against every row written.

What the database holds at each instant is the truth here: so a promise that holds at the very end
and was broken in between is found, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from json import loads
from typing import Final

from tests.simulation.checkers import nothing_leaks
from tests.simulation.history import Act, Change, History, Send, Verb, Verdict
from timer_trio.domain.bulk import TAKES, BulkAction
from timer_trio.domain.timer import ENDED, Status, Timer, TimerId

BECOMES: Final = {
    BulkAction.CANCEL: Status.CANCELED,
    BulkAction.REDRIVE: Status.PENDING,
    BulkAction.DELETE: None,
}


def one_live_timer_has_a_name(history: History) -> Iterator[str]:
    """At no time do two live timers have one name."""
    live: defaultdict[str, set[TimerId]] = defaultdict(set)
    for change in history.changes:
        if change.row is None or change.row.timer.key is None:
            continue
        key, ids = change.row.timer.key, live[change.row.timer.key]
        ids.discard(change.timer_id)
        if change.row.timer.status not in ENDED:
            ids.add(change.timer_id)
        if len(ids) > 1:
            yield f"{len(ids)} live timers have the name {key} at {change.at_s:.3f}"


def equal_keys_are_answered_equally(history: History) -> Iterator[str]:
    """One idempotency key makes one timer, and all equal requests have the same answer."""
    groups = _timers_by_group(history)
    for key, acts in _by_subject(history, Verb.KEYED).items():
        kept = [one for one in acts if one.verdict is Verdict.ACKNOWLEDGED]
        answers = {(one.body, one.timer_id, one.data) for one in kept}
        if len(answers) > 1:
            yield f"{key} has {len(answers)} answers: {sorted(answers, key=str)}"
        if len(groups[key]) > 1 or (kept and not groups[key]):
            yield f"{key} has made {len(groups[key])} timers"
        bodies = {one.body for one in acts}
        is_refused = any(one.verdict is Verdict.REFUSED for one in acts)
        if kept and is_refused and len(bodies) == 1:
            yield f"{key} was refused, and all its requests are equal"


def each_ending_has_its_result(history: History) -> Iterator[str]:
    """Each ending that somebody wants to hear of is told by one timer, and no other is there."""
    told: defaultdict[TimerId | None, list[str]] = defaultdict(list)
    for timer in _first_written(history):
        if timer.parent_id is not None:
            told[timer.parent_id].append(loads(timer.spec.callback.payload or "")["type"])
    for timer_id, changes in changes_of(history).items():
        wanted = sorted(kind for kind in map(_told_by, endings(changes)) if kind)
        if wanted != sorted(told[timer_id]):
            yield f"{timer_id} has ended as {wanted}, and its results say {sorted(told[timer_id])}"


def redriven_goes_on(history: History) -> Iterator[str]:
    """A redriven timer keeps its webhook-id, counts on, has its whole budget, and ends again."""
    yield from _sent_under_one_id(history)
    for timer_id, changes in changes_of(history).items():
        for life in lives(changes):
            yield from _uses_its_budget(timer_id, life)
    for one in _kept(history, Verb.REDRIVE):
        if not _is_redriven(history, one):
            yield f"{one.subject} was redriven at {one.answered_s:.3f}, and its row was not"


def all_have_ended(history: History) -> Iterator[str]:
    """Every row that is still there has ended."""
    for timer_id, changes in changes_of(history).items():
        row = changes[-1].row
        if row is not None and row.timer.status not in ENDED:
            yield f"{timer_id} is stuck: {row.timer.status}"


def canceled_is_not_sent(history: History) -> Iterator[str]:
    """What is canceled, alone or among many, is not sent until somebody redrives it."""
    sends = _sends_of(history)
    for timer_id, changes in changes_of(history).items():
        for change, until_s in _with_ends(changes):
            if change.row is None or change.row.timer.status is not Status.CANCELED:
                continue
            if any(change.at_s < send.sent_s < until_s for send in sends[timer_id]):
                yield f"{timer_id} was sent after it was canceled at {change.at_s:.3f}"


def bulk_does_what_it_counts(history: History) -> Iterator[str]:
    """A bulk action touches what its action allows, and counts just that."""
    for page in history.pages:
        action = page.bulk.action
        done = [1 for before, after in page.touched.values() if before in TAKES[action]]
        for timer_id, (before, after) in page.touched.items():
            if before not in TAKES[action] or after is not BECOMES[action]:
                yield f"{action} made {timer_id} {after}, and it was {before}"
        if page.done != len(done):
            yield f"{action} counts {page.done}, and has changed {len(done)}"


def bulk_does_nothing_twice(history: History) -> Iterator[str]:
    """A bulk action that is repeated with its `as_of` changes no timer again."""
    seen: set[tuple[str, TimerId]] = set()
    for page in history.pages:
        for timer_id in page.touched:
            one = (str(page.bulk), timer_id)
            if one in seen:
                yield f"{page.bulk.action} of {page.bulk.as_of} has changed {timer_id} twice"
            seen.add(one)


def named_answers_hold(history: History) -> Iterator[str]:
    """What a create, replace or cancel by name has answered was written meanwhile."""
    for one in _kept(history, Verb.NAMED):
        written = [change for change in _during(history, one) if change.row]
        versions = [change.row.timer.spec.callback.payload for change in written if change.row]
        if one.data and one.data not in versions:
            yield f"{one.timer_id} was created or replaced as {one.subject}, and its row was not"
    for one in _kept(history, Verb.UNNAMED):
        if not any(
            change.row is None or change.row.timer.status is Status.CANCELED
            for change in changes_of(history)[_id_of(one)]
            if change.at_s <= one.answered_s
        ):
            yield f"{one.timer_id} was canceled as {one.subject}, and its row was not"


VERB_CHECKERS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    one_live_timer_has_a_name,
    equal_keys_are_answered_equally,
    each_ending_has_its_result,
    redriven_goes_on,
    all_have_ended,
    canceled_is_not_sent,
    bulk_does_what_it_counts,
    bulk_does_nothing_twice,
    named_answers_hold,
    nothing_leaks,
)


def broken_verb_promises(history: History) -> list[str]:
    """Name all that is wrong with what the verbs did."""
    return [
        f"{checker.__name__}: {violation}"
        for checker in VERB_CHECKERS
        for violation in checker(history)
    ]


def changes_of(history: History) -> dict[TimerId, list[Change]]:
    """Divide what was written by timers."""
    found: defaultdict[TimerId, list[Change]] = defaultdict(list)
    for change in history.changes:
        found[change.timer_id].append(change)
    return found


def endings(changes: Sequence[Change]) -> Iterator[Timer]:
    """List the timer as it was at each of its endings that a callback or its lack brought."""
    for before, after in pairwise(changes):
        was, timer = before.row and before.row.timer.status, after.row and after.row.timer
        is_end = timer and timer.status in {Status.COMPLETED, Status.FAILED}
        if timer and is_end and was is Status.EXECUTING:
            yield timer


def lives(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Divide what was written of a timer by its redrives."""
    begin = 0
    for index, (before, after) in enumerate(pairwise(changes), start=1):
        was_ended = before.row and before.row.timer.status in ENDED
        if was_ended and after.row and after.row.timer.status not in ENDED:
            yield changes[begin:index]
            begin = index
    yield changes[begin:]


def _told_by(timer: Timer) -> str | None:
    """Say of what type the result of an ending is; None: nobody wants one."""
    spec = timer.spec
    target = spec.on_completed if timer.status is Status.COMPLETED else spec.on_failed
    return f"timer.{timer.status}" if target else None


def _uses_its_budget(timer_id: TimerId, life: Sequence[Change]) -> Iterator[str]:
    last, retries = life[-1].row, 0
    for before, after in pairwise(life):
        was = before.row and before.row.timer.status
        is_retry = after.row is not None and after.row.timer.status is Status.RETRYING
        if was is Status.EXECUTING and is_retry and after.row and before.row:
            retries += after.row.failures > before.row.failures
    if last is None or last.timer.spec.retry is None:
        return
    tried, most = retries + 1, last.timer.spec.retry.max_attempts
    words = last.timer.last_error or ""
    if last.timer.status is Status.FAILED and words.startswith("HTTP") and tried != most:
        yield f"{timer_id} failed after {tried} of {most} attempts"
    if retries >= most:
        yield f"{timer_id} was tried again {retries} times, of {most} attempts"


def _sent_under_one_id(history: History) -> Iterator[str]:
    for timer_id, sends in _sends_of(history).items():
        if {send.webhook_id for send in sends} != {str(timer_id)}:
            yield f"{timer_id} was sent under several webhook-ids"
        for before, after in pairwise(sends):
            if after.attempt <= before.attempt:
                yield f"{timer_id} was sent as attempt {before.attempt} and {after.attempt}"


def _is_redriven(history: History, one: Act) -> bool:
    changes = changes_of(history)[_id_of(one)]
    return any(
        before.row is not None
        and before.row.timer.status in ENDED
        and after.row is not None
        and after.row.timer.status is Status.PENDING
        and one.asked_s <= after.at_s <= one.answered_s
        for before, after in pairwise(changes)
    )


def _sends_of(history: History) -> dict[TimerId, list[Send]]:
    found: defaultdict[TimerId, list[Send]] = defaultdict(list)
    ids = {str(change.timer_id): change.timer_id for change in history.changes}
    for send in history.sends:
        found[ids[send.timer_id]].append(send)
    return found


def _with_ends(changes: Sequence[Change]) -> Iterator[tuple[Change, float]]:
    """Pair each row with the instant until which it stood."""
    yield from zip(changes, [*(change.at_s for change in changes[1:]), float("inf")], strict=True)


def _first_written(history: History) -> Iterator[Timer]:
    for changes in changes_of(history).values():
        if changes[0].row is not None:
            yield changes[0].row.timer


def _timers_by_group(history: History) -> dict[str, set[TimerId]]:
    found: defaultdict[str, set[TimerId]] = defaultdict(set)
    for timer in _first_written(history):
        found[str((timer.spec.metadata or {}).get("group"))].add(timer.id)
    return found


def _by_subject(history: History, verb: Verb) -> dict[str, list[Act]]:
    found: defaultdict[str, list[Act]] = defaultdict(list)
    for one in history.acts:
        if one.verb is verb:
            found[one.subject].append(one)
    return found


def _kept(history: History, verb: Verb) -> Iterator[Act]:
    for one in history.acts:
        if one.verb is verb and one.verdict is Verdict.ACKNOWLEDGED:
            yield one


def _during(history: History, one: Act) -> Iterator[Change]:
    for change in changes_of(history)[_id_of(one)]:
        if one.asked_s <= change.at_s <= one.answered_s:
            yield change


def _id_of(one: Act) -> TimerId:
    assert one.timer_id is not None
    return one.timer_id
