"""What a consumer may ask of flows and pauses: the members of a body, checked, to the domain."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final, cast

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.fields.flow import (
    DESTINATION_FIELDS,
    FLOW_FIELDS,
    NAME_DESTINATION,
    PUT_FLOW,
    RATE_FIELDS,
)
from timer_trio.api.fields.rules import Rules
from timer_trio.api.requests import checked
from timer_trio.domain.rules import FlowChange, Rate
from timer_trio.domain.timer import Destination

_KNOWN: Final = (*FLOW_FIELDS, *DESTINATION_FIELDS)


def reading_rule(raw: bytes) -> Generator[None, None, dict[str, object]]:
    """Parse what the readers below read, as `reading_members`."""
    return reading_object(raw, verbatim="", known=_KNOWN, most_values=len(RATE_FIELDS))


def read_flow_change(members: Mapping[str, object], rules: Rules) -> FlowChange:
    """Read which settings of a flow a PUT changes.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = checked(PUT_FLOW, members, rules, [], called="a flow", known=FLOW_FIELDS)
    change: dict[str, Any] = {**wanted}
    if not change:
        words = f"at least one of {', '.join(FLOW_FIELDS)} is required"
        raise InvalidRequestError(FieldError("", words))
    if change.get("rate") is not None:
        change["rate"] = Rate(change["rate"]["count"], change["rate"]["per_seconds"])
    return cast("FlowChange", change)


def read_destination(members: Mapping[str, object], rules: Rules) -> Destination:
    """Read which destination a POST is about.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    called = "a destination's pause"
    wanted = checked(NAME_DESTINATION, members, rules, [], called=called, known=DESTINATION_FIELDS)
    return wanted["destination"]
