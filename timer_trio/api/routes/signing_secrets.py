"""What signs the callbacks of a project: read, rotated, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field, with_config
from quart import Response, request
from typing_extensions import TypedDict

from timer_trio.api.body.json_body import reading_object
from timer_trio.api.body.media import optional_json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.signing import ROTATE, ROTATE_FIELDS
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.principal import own_project, principal
from timer_trio.api.query import is_id
from timer_trio.api.requests import checked
from timer_trio.api.responses import Id, Instant, success
from timer_trio.api.route import (
    ON_BODY,
    ON_KEY,
    ON_ONE,
    ON_STORED,
    Body,
    Json,
    Operation,
    Route,
    Success,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import SecretNotFoundError
from timer_trio.domain.project import Scope
from timer_trio.domain.rendering import instant_or_none
from timer_trio.domain.signing import DEFAULT_OVERLAP, MASKED, SecretId, SigningSecret
from timer_trio.domain.timer import rfc3339
from timer_trio.intake.signing import SigningSecrets

TAG: Final = "signing secrets"
_EXACT: Final = ConfigDict(extra="forbid")
_PARAMETER: Final[Json] = {
    "name": "secret_id",
    "in": "path",
    "required": True,
    "description": "As the list has it; anything else is a 404.",
    "schema": {"type": "string", "format": "uuid"},
}


@with_config(_EXACT)
class SecretData(TypedDict):
    id: Id
    secret: Annotated[
        str,
        Field(
            description="As libraries for Standard Webhooks take it. To a key without the scope "
            f"admin: {MASKED}.",
            examples=[MASKED],
        ),
    ]
    created_at: Instant
    expires_at: Annotated[
        Instant | None,
        Field(description="From when on it signs nothing; null: it is the current one."),
    ]


@with_config(_EXACT)
class SecretsData(TypedDict):
    signing_secrets: Annotated[
        list[SecretData], Field(description="Those that are valid, the current one last.")
    ]


@with_config(_EXACT)
class DeletedSecretData(TypedDict):
    id: Id


def routes(context: ApiContext) -> Sequence[Route]:
    secrets = _Secrets(context)
    limits = f"At most {context.max_body_bytes:,} bytes. Without one, the defaults."
    example = {"overlap_seconds": 3600}
    body = Body(model=ROTATE, example=example, limits=limits, is_required=False)
    return (
        Route(method="GET", path="/signing-secrets", handler=secrets.list_secrets, operation=_LIST),
        Route(
            method="POST",
            path="/signing-secrets/rotate",
            handler=secrets.rotate_secret,
            scope=Scope.ADMIN,
            body=body,
            operation=_ROTATE,
        ),
        Route(
            method="DELETE",
            path="/signing-secrets/{secret_id}",
            handler=secrets.delete_secret,
            scope=Scope.ADMIN,
            operation=_DELETE,
        ),
    )


class _Secrets:
    def __init__(self, context: ApiContext) -> None:
        self._secrets = SigningSecrets(storage=context.storage, clock=context.clock)
        self._context = context
        self._slices = context.slices

    async def list_secrets(self) -> Response:
        refuse_parameters(request.query_string)
        known = await self._secrets.valid(own_project())
        data: SecretsData = {"signing_secrets": [_secret_data(secret) for secret in known]}
        return success(data)

    async def rotate_secret(self) -> Response:
        raw = await optional_json_body() or b"{}"
        reading = reading_object(raw, verbatim="", known=ROTATE_FIELDS, most_values=0)
        members = await self._slices.finish(reading)
        wanted = checked(
            ROTATE, members, self._context.rules, [], called="a rotation", known=ROTATE_FIELDS
        )
        overlap_s = wanted.get("overlap_seconds", DEFAULT_OVERLAP.total_seconds())
        overlap = timedelta(seconds=overlap_s)
        rotated = await self._secrets.rotate(own_project(), overlap)
        self._context.audit.note(Action.SECRET_ROTATED, rotated.id, overlap_seconds=overlap_s)
        return success(_secret_data(rotated))

    async def delete_secret(self, secret_id: str) -> Response:
        refuse_parameters(request.query_string)
        if not is_id(secret_id):
            raise SecretNotFoundError
        known_id = SecretId(UUID(secret_id))
        await self._secrets.delete(own_project(), known_id)
        self._context.audit.note(Action.SECRET_DELETED, known_id)
        data: DeletedSecretData = {"id": str(known_id)}
        return success(data)


def _secret_data(secret: SigningSecret) -> SecretData:
    is_shown = Scope.ADMIN in principal().scopes
    return {
        "id": str(secret.id),
        "secret": secret.secret if is_shown else MASKED,
        "created_at": rfc3339(secret.created_at),
        "expires_at": instant_or_none(secret.expires_at),
    }


_LIST: Final = Operation(
    name="listSigningSecrets",
    tag=TAG,
    summary="What signs callbacks?",
    description="Callbacks carry `webhook-id`, `webhook-timestamp` and `webhook-signature` as "
    "Standard Webhooks has them, with a signature by each of the secrets that are valid when they "
    "are sent. A timer with `signing: none` is sent without.",
    success=Success(words="The secrets that are valid.", data=SecretsData),
    refusals=ON_STORED,
)
_ROTATE: Final = Operation(
    name="rotateSigningSecret",
    tag=TAG,
    summary="Make another secret the current one",
    description="The new one signs at once, on all replicas within 5 s. The one before it signs as "
    "well until the overlap is over; 0 ends it at once. After a 503, list them before you rotate "
    "again.",
    success=Success(words="The new secret.", data=SecretData),
    refusals=(*ON_STORED, *ON_BODY, *ON_KEY),
)
_DELETE: Final = Operation(
    name="deleteSigningSecret",
    tag=TAG,
    summary="Let a secret sign nothing any more",
    description="On no replica after 5 s. If it is the current one, the newest of the others is "
    "current again: so a rotation is taken back. The last valid one is a 409: rotate first.",
    success=Success(words="It signs nothing any more.", data=DeletedSecretData),
    refusals=(*ON_ONE, *ON_KEY),
    parameters=(_PARAMETER,),
)
