"""Projects and keys: what is written of them, and what becomes of what is in them."""

from __future__ import annotations

from dataclasses import replace
from random import getrandbits

import psycopg
import pytest

from tests.contract.timers import ALICE, NOW, due, new_timer, seconds
from timer_trio.domain.api_key import ApiKey, KeyId, digest
from timer_trio.domain.errors import (
    ApiKeyNotFoundError,
    ProjectNameTakenError,
    ProjectNotFoundError,
    StorageError,
)
from timer_trio.domain.project import (
    DEFAULT_PROJECT,
    NO_SETTINGS,
    Live,
    Project,
    ProjectId,
    ProjectSettings,
    Scope,
)
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.signing import new_secret
from timer_trio.domain.timer import Status
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage

NOBODYS = ProjectId(999_999_999)


def api_key(number: int, project: ProjectId, name: str = "ci") -> ApiKey:
    return ApiKey(
        id=KeyId(f"{number:024x}"),
        project=project,
        name=name,
        scopes=frozenset({Scope.READ, Scope.METRICS}),
        created_at=NOW + seconds(number),
    )


async def names(storage: Storage) -> list[str]:
    return [project.name for project in await storage.projects()]


async def test_default_project_is_there_from_the_start(storage: Storage) -> None:
    default = await storage.project_named("default")
    assert default is not None
    assert (default.id, default.settings) == (DEFAULT_PROJECT, ProjectSettings())
    assert await names(storage) == ["default"]


async def test_name_is_of_one_project(storage: Storage) -> None:
    made = await storage.create_project("shop", NOW)
    assert made == Project(id=made.id, name="shop", created_at=NOW)
    assert made.id != DEFAULT_PROJECT
    with pytest.raises(ProjectNameTakenError):
        await storage.create_project("shop", NOW)
    other = await storage.create_project("a-1", NOW)
    assert other.id != made.id
    assert await names(storage) == ["a-1", "default", "shop"]
    assert await storage.project_named("shop") == made
    assert await storage.project_named("nobody") is None


async def test_settings_change_one_by_one(storage: Storage) -> None:
    project = (await storage.create_project("shop", NOW)).id
    policy = RetryPolicy(max_attempts=3, delays=(1.0, 2.5), give_up_after_s=60)
    changed = await storage.change_project(project, {"default_retry": policy})
    assert changed.settings == ProjectSettings(default_retry=policy)
    hosts = ("example.com", "*.example.org")
    changed = await storage.change_project(project, {"allowed_hosts": hosts})
    assert changed.settings == ProjectSettings(default_retry=policy, allowed_hosts=hosts)
    changed = await storage.change_project(project, {"default_retry": None})
    assert changed.settings == ProjectSettings(allowed_hosts=hosts)
    limit = RateLimit(requests_per_second=0.5, burst=7)
    changed = await storage.change_project(project, {"rate_limit": limit})
    assert changed.settings == ProjectSettings(allowed_hosts=hosts, rate_limit=limit)
    await storage.change_project(project, {"max_live_timers": 5})
    changed = await storage.change_project(project, {"rate_limit": None})
    assert changed.settings == ProjectSettings(allowed_hosts=hosts, max_live_timers=5)
    assert await storage.project_named("shop") == changed
    assert await storage.change_project(project, {}) == changed
    with pytest.raises(ProjectNotFoundError):
        await storage.change_project(NOBODYS, {})


async def test_heartbeat_reads_what_the_default_project_has(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    assert (await storage.beat(ALICE)).default_settings == NO_SETTINGS
    changed = await storage.change_project(DEFAULT_PROJECT, {"allowed_hosts": ("a.example",)})
    assert (await storage.beat(ALICE)).default_settings == changed.settings


async def test_settings_that_cannot_be_followed_end_no_heartbeat(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.join(ALICE, NOW)
    for settings in (
        '{"allowed_hosts": 5}',
        '{"default_retry": {"tries": 5}}',
        '{"rate_limit": {"requests_per_second": 0, "burst": 1}}',
        '{"rate_limit": {"per_second": 5}}',
        '{"rate_limit": 5}',
        '{"max_live_timers": "5"}',
        '{"max_live_timers": true}',
        '{"max_live_timers": 0}',
    ):
        sql.execute("UPDATE projects SET settings = %s", [settings])
        assert (await postgres.beat(ALICE)).default_settings is None
        with pytest.raises(StorageError, match="settings of project default"):
            await postgres.projects()


async def test_key_is_found_with_its_project(storage: Storage) -> None:
    shop = await storage.create_project("shop", NOW)
    key = replace(api_key(1, shop.id), expires_at=NOW + seconds(60))
    await storage.create_api_key(key, digest("s"))
    await storage.create_api_key(key, digest("other"))
    await storage.change_project(shop.id, {"allowed_hosts": ()})
    known = await storage.known_key(key.id)
    assert known is not None
    assert (known.key, known.has("s"), known.has("other")) == (key, True, False)
    assert known.project == replace(shop, settings=ProjectSettings(allowed_hosts=()))
    assert known.has_expired(NOW + seconds(60))
    assert not known.has_expired(NOW + seconds(59))
    assert await storage.known_key(KeyId("0" * 24)) is None


async def test_keys_are_listed_and_revoked_by_their_project_alone(storage: Storage) -> None:
    shop = (await storage.create_project("shop", NOW)).id
    keys = [api_key(1, shop), api_key(2, shop), api_key(3, DEFAULT_PROJECT)]
    for key in keys:
        await storage.create_api_key(key, digest("s"))
    assert await storage.api_keys(shop) == [keys[1], keys[0]]
    with pytest.raises(ApiKeyNotFoundError):
        await storage.revoke_api_key(DEFAULT_PROJECT, keys[0].id)
    await storage.revoke_api_key(shop, keys[0].id)
    assert await storage.known_key(keys[0].id) is None
    assert await storage.api_keys(shop) == [keys[1]]
    with pytest.raises(ApiKeyNotFoundError):
        await storage.revoke_api_key(shop, keys[0].id)
    with pytest.raises(ProjectNotFoundError):
        await storage.create_api_key(api_key(4, NOBODYS), digest("s"))


async def test_use_of_a_key_is_noted_and_never_earlier(storage: Storage) -> None:
    keys = [api_key(number, DEFAULT_PROJECT) for number in (1, 2)]
    for key in keys:
        await storage.create_api_key(key, digest("s"))
    await storage.note_key_uses({keys[0].id: NOW, KeyId("f" * 24): NOW})
    await storage.note_key_uses({keys[0].id: NOW - seconds(60)})
    listed = await storage.api_keys(DEFAULT_PROJECT)
    assert [key.last_used_at for key in listed] == [None, NOW]
    await storage.note_key_uses({key.id: NOW + seconds(60) for key in keys})
    listed = await storage.api_keys(DEFAULT_PROJECT)
    assert {key.last_used_at for key in listed} == {NOW + seconds(60)}
    await storage.note_key_uses({})


async def test_closed_project_has_no_keys_until_it_is_opened_again(storage: Storage) -> None:
    shop = (await storage.create_project("shop", NOW)).id
    key = api_key(1, shop)
    await storage.create_api_key(key, digest("s"))
    await storage.delete_project(shop)  # it is not closed
    await storage.close_project(shop, NOW)
    await storage.close_project(shop, NOW + seconds(9))
    assert await storage.known_key(key.id) is None
    for refused in (
        storage.create_api_key(api_key(2, shop), digest("s")),
        storage.change_project(shop, {}),
    ):
        with pytest.raises(ProjectNotFoundError):
            await refused
    closed = await storage.project_named("shop")
    assert closed is not None
    assert closed.closed_at == NOW
    await storage.open_project(shop)
    assert await storage.known_key(key.id) is not None


async def test_deleted_project_is_remembered_by_its_number_alone(storage: Storage) -> None:
    shop = (await storage.create_project("shop", NOW)).id
    await storage.create_api_key(api_key(1, shop), digest("s"))
    await storage.add_signing_secrets([new_secret(shop, NOW, getrandbits)])
    await storage.close_project(shop, NOW)
    await storage.forget_project(shop)  # it is not deleted
    await storage.delete_project(shop)
    await storage.delete_project(shop)
    await storage.open_project(shop)
    assert await names(storage) == ["default"]
    assert await storage.api_keys(shop) == []
    assert await storage.signing_secrets([shop], NOW) == []
    assert await storage.deleted_projects() == {shop: NOW}
    again = await storage.create_project("shop", NOW)
    assert again.id != shop
    await storage.forget_project(shop)
    assert await storage.deleted_projects() == {}
    assert await names(storage) == ["default", "shop"]


async def test_what_waits_in_a_project_is_canceled_page_by_page(storage: Storage) -> None:
    timers = [new_timer() for _ in range(3)]
    await storage.create(timers, NOW)
    shop = (await storage.create_project("shop", NOW)).id
    assert await storage.live_in(shop) == Live(timers=0, schedules=0)
    assert await storage.empty_project(shop, 10, NOW) == 0
    assert (await storage.live_in(DEFAULT_PROJECT)).timers == 3
    pages = [await storage.empty_project(DEFAULT_PROJECT, 2, NOW) for _ in range(3)]
    assert pages == [2, 1, 0]
    assert await storage.live_in(DEFAULT_PROJECT) == Live(timers=0, schedules=0)
    assert await due(storage) == []
    assert {(await storage.get(timer.id)).status for timer in timers} == {Status.CANCELED}


async def test_seal_stays_the_same(storage: Storage) -> None:
    seal = await storage.key_seal()
    assert len(seal) == 32
    assert await storage.key_seal() == seal
