"""What is asked for of signing secrets."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from timer_trio.domain.signing import DEFAULT_OVERLAP, MAX_OVERLAP


@with_config(ConfigDict(strict=True, extra="forbid"))
class RotateRequest(TypedDict, total=False):
    overlap_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_OVERLAP.total_seconds(),
            allow_inf_nan=False,
            description="How long callbacks are signed by the secret that was current as well: so "
            "long have receivers to change over.",
            json_schema_extra={"default": DEFAULT_OVERLAP.total_seconds()},
        ),
    ]


ROTATE: Final = TypeAdapter(RotateRequest)
ROTATE_FIELDS: Final = tuple(RotateRequest.__annotations__)
