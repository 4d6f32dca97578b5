from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.api_under_test import ApiUnderTest, running_api
from timer_trio.api import auth
from timer_trio.api.principal import SERVICE
from timer_trio.domain.project import ProjectId, Scope
from timer_trio.domain.signing import MASKED, MAX_VALID, SecretText, key_of

DAY_S = 86_400
BAD_OVERLAPS: tuple[object, ...] = (-1, 30 * DAY_S + 1, "60", None, True, [], 1e300)


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def listed(api: ApiUnderTest) -> list[Any]:
    answer = await api.client.get("/signing-secrets")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"]["signing_secrets"])


async def rotate(api: ApiUnderTest, body: object = None) -> Any:
    answer = await api.client.post("/signing-secrets/rotate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def refusal(answer: httpx.Response) -> tuple[int, int, str]:
    return answer.status_code, answer.json()["code"], answer.json()["message"]


async def test_a_project_has_a_secret_from_the_start(api: ApiUnderTest) -> None:
    (secret,) = await listed(api)
    assert len(key_of(SecretText(secret["secret"]))) == 32
    assert (secret["created_at"], secret["expires_at"]) == ("2030-01-01T00:00:00Z", None)
    assert await listed(api) == [secret]


async def test_rotation_answers_with_the_new_secret_and_keeps_the_old_for_a_day(
    api: ApiUnderTest,
) -> None:
    (old,) = await listed(api)
    new = (await api.client.post("/signing-secrets/rotate")).json()["data"]
    assert await listed(api) == [{**old, "expires_at": "2030-01-02T00:00:00Z"}, new]
    api.clock.advance(DAY_S)
    assert await listed(api) == [new]


async def test_overlap_is_as_long_as_is_asked_for(api: ApiUnderTest) -> None:
    await listed(api)
    second = await rotate(api, {"overlap_seconds": 30 * DAY_S})
    third = await rotate(api, {"overlap_seconds": 0})
    assert [each["id"] for each in await listed(api)][1:] == [third["id"]]
    assert second["id"] not in str(await listed(api))


@pytest.mark.parametrize(
    "body",
    [
        *({"overlap_seconds": value} for value in BAD_OVERLAPS),
        *({"overlap": 60}, []),
    ],
)
async def test_bad_overlap_is_refused_in_words_and_changes_nothing(
    api: ApiUnderTest, body: object
) -> None:
    before = await listed(api)
    status, code, message = refusal(await api.client.post("/signing-secrets/rotate", json=body))
    assert (status, code) == (400, 2)
    assert "overlap" in message or "object" in message
    assert await listed(api) == before


async def test_deleted_secret_is_listed_no_more_and_the_last_stays(api: ApiUnderTest) -> None:
    (old,) = await listed(api)
    new = await rotate(api)
    answer = await api.client.delete(f"/signing-secrets/{old['id']}")
    assert answer.json() == {"code": 0, "message": "success", "data": {"id": old["id"]}}
    assert await listed(api) == [new]
    status, code, message = refusal(await api.client.delete(f"/signing-secrets/{new['id']}"))
    assert (status, code) == (409, 5)
    assert "rotate it" in message
    assert await listed(api) == [new]


@pytest.mark.parametrize("secret_id", ["x", "0", "00000000-0000-4000-8000-000000000000"])
async def test_unknown_secret_is_not_found(api: ApiUnderTest, secret_id: str) -> None:
    answer = await api.client.delete(f"/signing-secrets/{secret_id}")
    assert refusal(answer) == (404, 3, "no valid signing secret has this id")


async def test_more_secrets_than_a_callback_carries_are_a_conflict(api: ApiUnderTest) -> None:
    for _ in range(MAX_VALID - 1):
        await rotate(api)
    status, code, message = refusal(await api.client.post("/signing-secrets/rotate"))
    assert (status, code) == (409, 5)
    assert "delete one" in message


async def test_who_is_no_administrator_sees_no_secret(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secret,) = await listed(api)
    for scopes in (frozenset({Scope.READ}), frozenset({Scope.READ, Scope.WRITE})):
        monkeypatch.setattr(auth, "SERVICE", replace(SERVICE, scopes=scopes))
        answer = await api.client.get("/signing-secrets")
        assert secret["secret"] not in answer.text
        assert answer.json()["data"]["signing_secrets"] == [{**secret, "secret": MASKED}]


async def test_projects_have_secrets_of_their_own(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own,) = await listed(api)
    await rotate(api)
    monkeypatch.setattr(auth, "SERVICE", replace(SERVICE, project=ProjectId(7)))
    (others,) = await listed(api)
    assert others["secret"] != own["secret"]
    answer = await api.client.delete(f"/signing-secrets/{own['id']}")
    assert answer.status_code == 404


async def test_a_timer_says_whether_it_is_signed(api: ApiUnderTest) -> None:
    timer_id = (await api.create())["id"]
    assert (await api.get(timer_id))["signing"] == "default"
    await api.client.put(f"/timers/{timer_id}", json={"signing": "none"})
    assert (await api.get(timer_id))["signing"] == "none"
    await api.client.put(f"/timers/{timer_id}", json={"signing": "default"})
    assert (await api.get(timer_id))["signing"] == "default"


@pytest.mark.parametrize("wrong", ["all", "NONE", "", None, True, 1])
async def test_wrong_signing_is_refused_with_its_choices(api: ApiUnderTest, wrong: object) -> None:
    body = {"delay": 1, "callback_url": "https://example.com/", "signing": wrong}
    status, code, message = refusal(await api.client.post("/timers", json=body))
    assert (status, code, message) == (400, 2, "signing: must be 'default' or 'none'")


async def test_batch_and_import_take_it(api: ApiUnderTest) -> None:
    wanted = {"delay": 60, "callback_url": "https://example.com/", "signing": "none"}
    batch = await api.client.post("/timers/batch", json={"timers": [wanted]})
    assert batch.status_code == 201, batch.text
    (timer,) = batch.json()["data"]["timers"]
    assert (await api.get(timer["id"]))["signing"] == "none"
