"""All routes, one module a resource: what it answers, and how it is declared.

A new resource is a module with a function `routes`, and its line here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from timer_trio.api.context import ApiContext
from timer_trio.api.route import Route
from timer_trio.api.routes import (
    attempts,
    audit,
    batch,
    bulk,
    by_key,
    clock,
    destinations,
    docs,
    flows,
    health,
    home,
    imports,
    keys,
    metrics,
    pauses,
    projects,
    redrive,
    replicas,
    schedule_actions,
    schedules,
    schedules_by_name,
    signing_secrets,
    timers,
)

_RESOURCES: Final = (
    *(timers, attempts, redrive, by_key, batch, bulk, imports, replicas),
    *(schedules, schedules_by_name, schedule_actions),
    *(projects, keys, signing_secrets, audit),
    *(flows, destinations, pauses),
    *(home, health, metrics, clock),
)


def all_routes(context: ApiContext) -> Sequence[Route]:
    described = [route for resource in _RESOURCES for route in resource.routes(context)]
    return [*described, *docs.routes(context, described)]
