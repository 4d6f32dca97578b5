"""From the rows of flows to values of the domain, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from psycopg.rows import DictRow

from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import ProjectId
from timer_trio.domain.rules import Flow, FlowRules, Rate


def flow_of(row: DictRow) -> Flow:
    return Flow(
        key=FlowKey(row["flow_key"]),
        rules=rules_of(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
    )


def rules_of(row: DictRow) -> FlowRules:
    count, per_s = row["rate_count"], row["rate_per_s"]
    return FlowRules(
        max_in_flight=row["max_in_flight"],
        rate=None if count is None else Rate(count, per_s),
        paused_at=row["paused_at"],
        resumed_at=row["resumed_at"],
    )


def flows_of(rows: Iterable[DictRow]) -> Mapping[FlowId, FlowRules]:
    return {
        FlowId(ProjectId(row["project"]), FlowKey(row["flow_key"])): rules_of(row) for row in rows
    }


def flow_columns(flow: Flow, project: ProjectId, version: int) -> Mapping[str, object]:
    rules = flow.rules
    return {
        "project": project,
        "key": flow.key,
        "max_in_flight": rules.max_in_flight,
        "rate_count": None if rules.rate is None else rules.rate.count,
        "rate_per_s": None if rules.rate is None else rules.rate.per_s,
        "paused_at": rules.paused_at,
        "resumed_at": rules.resumed_at,
        "deleted_at": flow.deleted_at,
        "version": version,
        "created_at": flow.created_at,
        "updated_at": flow.updated_at,
    }
