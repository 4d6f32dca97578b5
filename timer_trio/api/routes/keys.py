"""The keys of a project."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from quart import Response, request

from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.project import CREATE_KEY
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.principal import principal
from timer_trio.api.project_requests import read_key, reading_project
from timer_trio.api.project_responses import (
    KeysData,
    NewKeyData,
    RevokedData,
    key_data,
    new_key_data,
)
from timer_trio.api.responses import success
from timer_trio.api.route import ON_BODY, ON_ONE, ON_STORED, Body, Json, Operation, Route, Success
from timer_trio.domain.api_key import (
    ID_BYTES,
    ID_PATTERN,
    SECRET_BYTES,
    ApiKey,
    KeyId,
    digest,
    is_key_id,
    new_token,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.errors import ApiKeyNotFoundError
from timer_trio.domain.project import Scope

PATH: Final = "/keys"
_TAG: Final = "keys"
_ID: Final[Json] = {
    "name": "key_id",
    "in": "path",
    "required": True,
    "description": "The key's id, which is the part of it between the underscores.",
    "schema": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
}
_EXAMPLE: Final = {"name": "checkout", "scopes": ["write"]}


def routes(context: ApiContext) -> Sequence[Route]:
    keys = _Keys(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    return (
        Route(
            method="POST",
            path=PATH,
            handler=keys.create_key,
            body=Body(model=CREATE_KEY, example=_EXAMPLE, limits=limits),
            operation=_CREATE,
            scope=Scope.ADMIN,
        ),
        Route(
            method="GET",
            path=PATH,
            handler=keys.list_keys,
            operation=_LIST,
            scope=Scope.ADMIN,
        ),
        Route(
            method="DELETE",
            path="/keys/{key_id}",
            handler=keys.revoke_key,
            operation=_REVOKE,
            scope=Scope.ADMIN,
        ),
    )


class _Keys:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._storage = context.storage

    async def create_key(self) -> Response:
        giver, now = principal(), self._context.clock.now()
        members = await self._context.slices.finish(reading_project(await json_body()))
        wanted = read_key(members, now, self._context.rules, giver)
        seal = await self._context.key_ring.seal()
        id_bytes, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        token = new_token(id_bytes, secret, seal)
        key = ApiKey(
            id=token.id,
            project=giver.project,
            name=wanted.name,
            scopes=wanted.scopes,
            created_at=now,
            expires_at=wanted.expires_at,
        )
        await self._storage.create_api_key(key, digest(token.secret))
        self._context.audit.note(Action.KEY_CREATED, key.id, scopes=sorted(key.scopes))
        return success(new_key_data(key, str(token)), HTTPStatus.CREATED)

    async def list_keys(self) -> Response:
        refuse_parameters(request.query_string)
        keys = await self._storage.api_keys(principal().project)
        return success({"keys": [*map(key_data, keys)]})

    async def revoke_key(self, key_id: str) -> Response:
        refuse_parameters(request.query_string)
        if not is_key_id(key_id):
            raise ApiKeyNotFoundError
        known_id = KeyId(key_id)
        await self._storage.revoke_api_key(principal().project, known_id)
        self._context.key_ring.forget_key(known_id)
        self._context.audit.note(Action.KEY_REVOKED, known_id)
        return success({"id": key_id})


_CREATE: Final = Operation(
    name="createKey",
    tag=_TAG,
    summary="Create a key",
    description="Of the project that the request is in. The answer shows it once: only a hash of "
    "it is kept. No key gives scopes that it lacks itself, and only keys of `default` have "
    "`metrics`. After a 503 a key that nobody knows may be there: `GET /keys` shows it.",
    success=Success(words="The new key.", data=NewKeyData, status=201),
    refusals=(*ON_ONE, *ON_BODY),
)
_LIST: Final = Operation(
    name="listKeys",
    tag=_TAG,
    summary="List keys",
    description="All of the project's, expired ones among them, without what they are sent as.",
    success=Success(words="The keys.", data=KeysData),
    refusals=ON_STORED,
)
_REVOKE: Final = Operation(
    name="revokeKey",
    tag=_TAG,
    summary="Revoke a key",
    description="For good. No replica serves a request with it that comes more than 5 s after this "
    "answer, and the one that answers none at all. A key may revoke itself.",
    success=Success(words="The key is revoked.", data=RevokedData),
    refusals=ON_ONE,
    parameters=(_ID,),
)
