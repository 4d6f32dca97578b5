"""The client and the OpenAPI document say the same: each field, each answer, each choice."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, get_type_hints

import pytest

from tests.api_under_test import running_api
from timer_trio.client import answers as told
from timer_trio.client import fields as asked

ANSWERS: Final = {
    "SummaryData": told.TimerSummary,
    "ListedData": told.ListedTimer,
    "WholeTimerData": told.Timer,
    "CanceledData": told.Canceled,
    "AttemptData": told.Attempt,
    "AnswerData": told.ReceiverAnswer,
    "ScheduleData": told.Schedule,
    "ListedScheduleData": told.ListedSchedule,
    "LastOccurrenceData": told.LastOccurrence,
    "EndedData": told.EndedSchedule,
    "BackfilledData": told.Backfilled,
    "FlowData": told.Flow,
    "FlowStateData": told.FlowState,
    "DeletedFlowData": told.DeletedFlow,
    "DestinationData": told.Destination,
    "LastHourData": told.LastHour,
    "DurationData": told.Durations,
    "BreakerStateData": told.Breaker,
    "DestinationPauseData": told.DestinationPause,
    "PauseData": told.Pause,
    "SecretData": told.SigningSecret,
    "DeletedSecretData": told.DeletedSecret,
    "HealthData": told.Health,
    "ReadyData": told.Readiness,
}
REQUESTS: Final[dict[str, tuple[Any, set[str]]]] = {
    "NamedCreateRequest": (asked.NamedTimerFields, {"callback_url"}),
    "CreateRequest": (asked.TimerFields, {"callback_url"}),
    "OneOfManyCreateRequest": (asked.NewTimer, {"on_conflict"}),
    "UpdateRequest": (asked.TimerChanges, set()),
    "ScheduleCreateRequest": (asked.NamedScheduleFields, {"callback_url"}),
    "ScheduleUpdateRequest": (asked.ScheduleChanges, set()),
    "PreviewRequest": (asked.RuleFields, {"count", "from"}),
    "FlowRequest": (asked.FlowFields, set()),
    "RetryRequest": (asked.Retry, set()),
    "ResultRequest": (asked.ResultTarget, set()),
    "RateRequest": (asked.Rate, set()),
}
"""Each with what the client's methods take beside it, or leave out."""
LISTS: Final[dict[str, tuple[Any, set[str]]]] = {
    "/timers": (asked.TimerQuery, {"limit", "offset", "cursor"}),
    "/schedules": (asked.ScheduleFilters, {"limit", "cursor"}),
}


@pytest.fixture
async def document() -> Any:
    async with running_api() as api:
        return (await api.client.get("/openapi.json")).json()


def schema(document: Any, name: str) -> Any:
    found = document["components"]["schemas"][name]
    return found["anyOf"][0] if "anyOf" in found else found


def known_values(hint: Any) -> set[str]:
    return set(getattr(hint, "__args__", ()))


async def test_answers_have_the_members_that_the_document_has(document: Any) -> None:
    for name, kind in ANSWERS.items():
        written = {each.name for each in fields(kind)}
        assert written == set(schema(document, name)["properties"]), name


async def test_requests_have_the_members_that_the_document_has(document: Any) -> None:
    for name, (kind, beside) in REQUESTS.items():
        written = set(get_type_hints(kind)) | beside
        assert written == properties(document, schema(document, name)), name


async def test_lists_have_the_parameters_that_the_document_has(document: Any) -> None:
    for path, (kind, beside) in LISTS.items():
        named = {each["name"] for each in document["paths"][path]["get"]["parameters"]}
        assert set(get_type_hints(kind)) | beside == named, path


async def test_choices_are_those_of_the_document(document: Any) -> None:
    choices = {
        "Status": asked.Status,
        "ScheduleStatus": asked.ScheduleStatus,
        "Method": asked.Method,
        "Delivery": asked.Delivery,
        "StoreResponse": asked.StoreResponse,
        "Signing": asked.Signing,
        "OnConflict": asked.OnConflict,
        "CatchUp": asked.CatchUp,
        "Overlap": asked.Overlap,
        "BulkAction": asked.BulkAction,
    }
    for name, hint in choices.items():
        assert known_values(hint) == set(schema(document, name)["enum"]), name


def properties(document: Any, schema: Any) -> set[str]:
    if "$ref" in schema:
        return properties(
            document, document["components"]["schemas"][schema["$ref"].split("/")[-1]]
        )
    return set(schema.get("properties", ()))
