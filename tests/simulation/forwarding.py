"""A storage that does each verb by way of one method, for whatever stands before a storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from timer_trio.storage import Storage

T = TypeVar("T")
P = ParamSpec("P")


def _forwarded(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[ForwardingStorage, P], Coroutine[Any, Any, T]]:
    name = verb.__name__

    async def forward(self: ForwardingStorage, /, *asked: P.args, **how: P.kwargs) -> T:
        answer: T = await self._ask(name, lambda: getattr(self._database, name)(*asked, **how))
        return answer

    return forward


class ForwardingStorage(ABC):
    """All verbs of a Storage but `listen`, each of which `_ask` passes on to the database."""

    def __init__(self, database: Storage) -> None:
        self._database = database

    @abstractmethod
    async def _ask(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call, which does the verb, and answer what it answers."""

    create = _forwarded(Storage.create)
    create_many = _forwarded(Storage.create_many)
    create_keyed = _forwarded(Storage.create_keyed)
    samples = _forwarded(Storage.samples)
    first_answer = _forwarded(Storage.first_answer)
    name_holder = _forwarded(Storage.name_holder)
    held_names = _forwarded(Storage.held_names)
    create_named = _forwarded(Storage.create_named)
    get = _forwarded(Storage.get)
    list = _forwarded(Storage.list)
    update = _forwarded(Storage.update)
    cancel = _forwarded(Storage.cancel)
    redrive = _forwarded(Storage.redrive)
    bulk = _forwarded(Storage.bulk)
    attempts = _forwarded(Storage.attempts)
    rotate_attempts = _forwarded(Storage.rotate_attempts)
    prune_attempts = _forwarded(Storage.prune_attempts)
    load = _forwarded(Storage.load)
    claim = _forwarded(Storage.claim)
    claim_occurrences = _forwarded(Storage.claim_occurrences)
    claim_exclusive = _forwarded(Storage.claim_exclusive)
    take_terms = _forwarded(Storage.take_terms)
    flow_readings = _forwarded(Storage.flow_readings)
    flows_now = _forwarded(Storage.flows_now)
    ask_probes = _forwarded(Storage.ask_probes)
    end_probes = _forwarded(Storage.end_probes)
    create_schedule = _forwarded(Storage.create_schedule)
    schedule = _forwarded(Storage.schedule)
    schedule_facts = _forwarded(Storage.schedule_facts)
    schedule_named = _forwarded(Storage.schedule_named)
    schedules = _forwarded(Storage.schedules)
    change_schedule = _forwarded(Storage.change_schedule)
    next_plan_at = _forwarded(Storage.next_plan_at)
    due_schedules = _forwarded(Storage.due_schedules)
    outdated_schedules = _forwarded(Storage.outdated_schedules)
    plan = _forwarded(Storage.plan)
    break_schedule = _forwarded(Storage.break_schedule)
    add_occurrences = _forwarded(Storage.add_occurrences)
    count_schedules = _forwarded(Storage.count_schedules)
    prune_schedules = _forwarded(Storage.prune_schedules)
    create_project = _forwarded(Storage.create_project)
    projects = _forwarded(Storage.projects)
    project_named = _forwarded(Storage.project_named)
    change_project = _forwarded(Storage.change_project)
    close_project = _forwarded(Storage.close_project)
    open_project = _forwarded(Storage.open_project)
    live_in = _forwarded(Storage.live_in)
    empty_project = _forwarded(Storage.empty_project)
    delete_project = _forwarded(Storage.delete_project)
    deleted_projects = _forwarded(Storage.deleted_projects)
    forget_project = _forwarded(Storage.forget_project)
    rules_since = _forwarded(Storage.rules_since)
    put_flow = _forwarded(Storage.put_flow)
    get_flow = _forwarded(Storage.get_flow)
    list_flows = _forwarded(Storage.list_flows)
    delete_flow = _forwarded(Storage.delete_flow)
    pause_destination = _forwarded(Storage.pause_destination)
    resume_destination = _forwarded(Storage.resume_destination)
    project_pause = _forwarded(Storage.project_pause)
    pause_project = _forwarded(Storage.pause_project)
    resume_project = _forwarded(Storage.resume_project)
    pause_all = _forwarded(Storage.pause_all)
    prune_rules = _forwarded(Storage.prune_rules)
    unmarked_projects = _forwarded(Storage.unmarked_projects)
    mark_counted = _forwarded(Storage.mark_counted)
    key_seal = _forwarded(Storage.key_seal)
    set_key_seal = _forwarded(Storage.set_key_seal)
    create_api_key = _forwarded(Storage.create_api_key)
    api_keys = _forwarded(Storage.api_keys)
    known_key = _forwarded(Storage.known_key)
    revoke_api_key = _forwarded(Storage.revoke_api_key)
    note_key_uses = _forwarded(Storage.note_key_uses)
    write_audit = _forwarded(Storage.write_audit)
    audit = _forwarded(Storage.audit)
    prune_audit = _forwarded(Storage.prune_audit)
    look_again = _forwarded(Storage.look_again)
    held_claims = _forwarded(Storage.held_claims)
    free = _forwarded(Storage.free)
    settle = _forwarded(Storage.settle)
    join = _forwarded(Storage.join)
    beat = _forwarded(Storage.beat)
    leave = _forwarded(Storage.leave)
    sweep = _forwarded(Storage.sweep)
    replicas = _forwarded(Storage.replicas)
    hint = _forwarded(Storage.hint)
    prune = _forwarded(Storage.prune)
    prune_keys = _forwarded(Storage.prune_keys)
    note_destinations = _forwarded(Storage.note_destinations)
    destinations = _forwarded(Storage.destinations)
    prune_destinations = _forwarded(Storage.prune_destinations)
    prune_probes = _forwarded(Storage.prune_probes)
    signing_secrets = _forwarded(Storage.signing_secrets)
    add_signing_secrets = _forwarded(Storage.add_signing_secrets)
    change_signing_secrets = _forwarded(Storage.change_signing_secrets)
    keep_map = _forwarded(Storage.keep_map)
    kept_map = _forwarded(Storage.kept_map)
