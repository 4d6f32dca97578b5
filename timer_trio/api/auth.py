"""Who may use the service, and for what: whoever knows a key.

`API_KEY` is that of the whole service. It is compared first and alone, so that it costs what it did
before there were others. Any other key has an id, by which its row is found, and a secret.

Who sends no right key costs a token of the bucket of his address, and no body is read from him. A
right one is never refused for what others send from the same address: no bucket is asked for it but
its own, where its project limits how many requests each key may send.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, cast

import trio
from quart import Request, request
from werkzeug.datastructures import Headers

from timer_trio.access.key_ring import MOST_KEYS, KeyRing
from timer_trio.access.key_uses import KeyUses
from timer_trio.api.errors import (
    FieldError,
    ForbiddenError,
    InvalidRequestError,
    RateLimitedError,
    TooManyWrongKeysError,
    UnauthorizedError,
    shown,
)
from timer_trio.api.key_limits import KeyLimits
from timer_trio.api.principal import ON_BEHALF, SERVICE, Principal, address_of, set_principal
from timer_trio.api.route import Route
from timer_trio.clock import Clock
from timer_trio.domain.api_key import KeyId, KnownKey, read_token
from timer_trio.domain.project import (
    DEFAULT_PROJECT,
    NO_SETTINGS,
    Scope,
    is_project_name,
    with_included,
)
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.domain.timer import rfc3339
from timer_trio.domain.token_buckets import TokenBuckets

API_KEY_HEADER: Final = "X-API-Key"
PROJECT_HEADER: Final = "X-Project"
_BEARER: Final = "bearer"

WRONG_KEYS: Final = 100
"""A person or a program that is set up wrongly does not send so many at once."""
WRONG_KEYS_PER_S: Final = 10.0
MAX_ADDRESSES: Final = 10_000
"""Some 2 MB."""
_NETWORK_BITS: Final = 64
"""Of an IPv6 address, what a consumer of the internet has at least."""
_WRONG: Final = "the API key is wrong"


class KnownKeys:
    """On whose behalf a request with a key comes that is not the key of the whole service."""

    def __init__(self, key_ring: KeyRing, uses: KeyUses, clock: Clock) -> None:
        self._key_ring = key_ring
        self._uses = uses
        self._clock = clock
        self._principals: dict[KeyId, tuple[KnownKey, Principal]] = {}

    async def principal_of(self, given: str) -> Principal:
        """Return whose key it is.

        Raises:
            UnauthorizedError: it is nobody's, or has expired.
            StorageUnavailableError: it is not known.
        """
        token = read_token(given)
        if token is None:
            raise UnauthorizedError(_WRONG)
        return self._admitted(await self._key_ring.find(token))

    async def principal_named(self, key_id: KeyId) -> Principal:
        """Return whose key it is that has an id, as `principal_of`."""
        return self._admitted(await self._key_ring.named(key_id))

    def _admitted(self, known: KnownKey | None) -> Principal:
        if known is None:
            raise UnauthorizedError(f"{_WRONG}, or has been revoked")
        now = self._clock.now()
        if known.has_expired(now):
            expired_at = known.key.expires_at or now
            raise UnauthorizedError(f"the API key has expired: {rfc3339(expired_at)}")
        self._uses.note(known.key.id, now)
        return self._principal(known)

    def _principal(self, known: KnownKey) -> Principal:
        """Return whose key it is, put together once for each reading of it."""
        last = self._principals.get(known.key.id)
        if last is not None and last[0] is known:
            return last[1]
        if len(self._principals) >= MOST_KEYS:
            self._principals.clear()
        made = _principal_of(known)
        self._principals[known.key.id] = known, made
        return made

    @property
    def service(self) -> Principal:
        """The key of the whole service, in the default project: nothing is looked up for it."""
        settings = self._key_ring.default_settings
        return SERVICE if settings is NO_SETTINGS else replace(SERVICE, settings=settings)

    async def service_in(self, project_name: str) -> Principal:
        """Return the key of the whole service as one that acts in a project.

        Raises:
            InvalidRequestError: there is none of this name.
            StorageUnavailableError: it is not known.
        """
        found = await self._key_ring.project(project_name)
        if found is None:
            raise InvalidRequestError(FieldError(PROJECT_HEADER, "no project has this name"))
        return Principal(
            project=found.id,
            scopes=SERVICE.scopes,
            project_name=found.name,
            settings=found.settings,
        )


def _principal_of(known: KnownKey) -> Principal:
    return Principal(
        project=known.project.id,
        scopes=with_included(known.key.scopes),
        key_id=known.key.id,
        project_name=known.project.name,
        settings=known.project.settings,
    )


class KeyGuard:
    """Checks the key before any route, unknown ones included: nobody learns of them without it."""

    _routes: Mapping[str, Route]
    _open_paths: frozenset[str]
    _open_folders: tuple[str, ...]

    def __init__(self, api_key: str, keys: KnownKeys, limits: KeyLimits) -> None:
        self._key = api_key.encode()
        self._keys = keys
        self._limits = limits
        self._wrong_keys = TokenBuckets(
            per_s=WRONG_KEYS_PER_S, burst=WRONG_KEYS, most=MAX_ADDRESSES
        )

    def watch(self, routes: Sequence[Route]) -> None:
        """Take up all routes that there are, before the first request."""
        self._routes = {route.endpoint: route for route in routes}
        self._open_paths = frozenset(route.path for route in routes if route.is_open)
        self._open_folders = tuple(_open_folders(routes))

    async def check(self) -> None:
        """Let a request pass that may be served, or needs no key; its body is not read yet.

        Raises:
            UnauthorizedError: no key, a wrong one, or two.
            TooManyWrongKeysError: likewise, and too many came from the same address.
            RateLimitedError: more came with this key than its project allows.
            ForbiddenError: the key is not for this route, or not of the project that is named.
            InvalidRequestError: the key of the whole service is to act in a project that there
                is not.
            StorageUnavailableError: nobody knows.

        One that the service makes itself names whom it is made for, and needs no key.
        """
        # Each use of Quart's own name looks for the request again.
        asked: Request = cast("Any", request)._get_current_object()  # noqa: SLF001 - werkzeug's API
        path = asked.path
        if path in self._open_paths or path.startswith(self._open_folders):
            return
        keys, projects = _named_in(asked.headers)
        if len(keys) == 1 and hmac.compare_digest(keys[0].encode("latin-1"), self._key):
            named = _project_name(projects) if projects else None
            self._admit(
                asked, self._keys.service if named is None else await self._keys.service_in(named)
            )
            return
        found: Principal | None = cast("Any", asked.scope).get(ON_BEHALF)
        if found is None:
            found = await self._other_key(asked, lambda: _only(keys))
        self._admit(asked, found)
        if projects:
            _check_project(found, projects)
        if not found.is_of_service:
            self._check_scope(found, asked)

    async def sign_in(self, asked: Request, given: str) -> Principal:
        """Return whose key it is that came in the body of a request; a wrong one is counted.

        Raises:
            UnauthorizedError: it is nobody's.
            TooManyWrongKeysError: likewise, and too many came from the same address.
            StorageUnavailableError: nobody knows.
        """
        if hmac.compare_digest(given.encode(errors="replace"), self._key):
            return self._keys.service
        return await self._other_key(asked, lambda: given)

    async def _other_key(self, asked: Request, given: Callable[[], str]) -> Principal:
        try:
            return await self._keys.principal_of(given())
        except UnauthorizedError:
            self._count_wrong_key(asked)
            raise

    def _admit(self, asked: Request, found: Principal) -> None:
        """Say on whose behalf a request is served, if not too many came for him."""
        set_principal(found)
        if (limit := found.settings.rate_limit) is not None:
            self._count(asked, found, limit)

    def _count(self, asked: Request, found: Principal, limit: RateLimit) -> None:
        fields, wait_s = self._limits.judge(found, limit)
        cast("Any", asked).limit_fields = fields
        if wait_s:
            raise RateLimitedError(limit, wait_s)

    def _count_wrong_key(self, asked: Request) -> None:
        if wait_s := self._wrong_keys.take(_address(asked), trio.current_time()):
            raise TooManyWrongKeysError(wait_s) from None

    def _check_scope(self, found: Principal, asked: Request) -> None:
        rule = asked.url_rule
        if rule is None or asked.method == "OPTIONS":
            return  # no such route, or a question of what there is
        route = self._routes[rule.endpoint]
        scope = route.needed_scope
        if route.is_of_service and scope is not Scope.METRICS:
            raise ForbiddenError(
                "this is of all projects: it is for the key of the whole service, API_KEY"
            )
        if scope not in found.scopes:
            raise ForbiddenError(f"the API key lacks the scope {scope.value}")
        if route.is_of_service and found.project != DEFAULT_PROJECT:
            raise ForbiddenError(
                "the metrics tell of all projects: send API_KEY, or a key of the default project"
                " with the scope metrics"
            )


def _check_project(found: Principal, projects: Sequence[str]) -> None:
    if _project_name(projects) != found.project_name:
        raise ForbiddenError(
            f"the API key is of another project than {PROJECT_HEADER} names: leave it out"
        )


def _only(keys: Sequence[str]) -> str:
    if not keys:
        raise UnauthorizedError(
            f"send the API key in the header {API_KEY_HEADER}, or as Authorization: Bearer"
        )
    if len({*keys}) > 1:
        raise UnauthorizedError(
            f"different keys in {API_KEY_HEADER} and Authorization: send one of them"
        )
    return keys[0]


def _project_name(names: Sequence[str]) -> str:
    if len({*names}) > 1:
        raise InvalidRequestError(FieldError(PROJECT_HEADER, "names several projects"))
    name = names[0]
    if not is_project_name(name):
        words = f"{shown(name)!r} is no name of a project: a-z, 0-9 and hyphens, at most 63"
        raise InvalidRequestError(FieldError(PROJECT_HEADER, words))
    return name


def _address(asked: Request) -> str:
    """Return by which address wrong keys are counted."""
    host = address_of(asked) or ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""  # a socket that has none
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(int(address) >> (128 - _NETWORK_BITS))
    return str(address)


def _open_folders(routes: Sequence[Route]) -> Sequence[str]:
    """Return below which paths nothing needs a key, so that unknown paths there need none."""
    folders = {True: set[str](), False: set[str]()}
    for route in routes:
        folders[route.is_open].add(f"{route.path.rpartition('/')[0]}/")
    return sorted(folders[True] - folders[False])


def _named_in(headers: Headers) -> tuple[list[str], list[str]]:
    """Return the keys that a request carries, each once, and the projects that it names."""
    keys: list[str] = []
    projects: list[str] = []
    for name, value in headers:
        match name.lower():
            case "x-api-key":
                keys.append(value)
            case "authorization":
                # Another scheme is for somebody in front of the service, such as a proxy.
                scheme, _, token = value.strip().partition(" ")
                if scheme.lower() == _BEARER:
                    keys.append(token.strip(" "))
            case "x-project":
                projects.append(value)
            case _:
                pass
    return [*dict.fromkeys(keys)] if len(keys) > 1 else keys, projects
