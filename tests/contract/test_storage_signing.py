from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from secrets import randbits

import pytest
import trio

from tests.contract.timers import ALICE, FIRST, LATER, NOW, SOON, new_timer, seconds
from timer_trio.clock import Clock
from timer_trio.domain.errors import LastSecretError, SecretNotFoundError, TooManySecretsError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.signing import (
    MAX_VALID,
    SecretId,
    Signing,
    SigningSecret,
    new_secret,
    rotated,
)
from timer_trio.intake.signing import SigningSecrets
from timer_trio.storage import Storage
from timer_trio.storage.signing import secrets_of

OTHER = ProjectId(7)
HOUR = LATER - NOW


class Frozen(Clock):
    def __init__(self, instant: datetime = NOW) -> None:
        super().__init__()
        self.instant = instant

    def now(self) -> datetime:
        return self.instant


def managed(storage: Storage, now: datetime = NOW) -> SigningSecrets:
    return SigningSecrets(storage=storage, clock=Frozen(now))


def fresh(project: ProjectId = DEFAULT_PROJECT, now: datetime = NOW) -> SigningSecret:
    return new_secret(project, now, randbits)


def current(secrets: Sequence[SigningSecret]) -> list[SigningSecret]:
    return [secret for secret in secrets if secret.expires_at is None]


async def test_a_project_has_no_secret_until_it_is_asked_for_one(storage: Storage) -> None:
    assert await storage.signing_secrets([DEFAULT_PROJECT, OTHER], NOW) == []
    made = await secrets_of(storage, [DEFAULT_PROJECT, OTHER], NOW, randbits)
    assert [secret.project for secret in made] == [DEFAULT_PROJECT, OTHER]
    assert made[0].secret != made[1].secret
    assert await secrets_of(storage, [OTHER], SOON, randbits) == [made[1]]
    assert await storage.signing_secrets([OTHER, DEFAULT_PROJECT], SOON) == made


async def test_all_who_ask_at_once_get_the_same_first_secret(storage: Storage) -> None:
    answers: list[Sequence[SigningSecret]] = []

    async def ask() -> None:
        answers.append(await secrets_of(storage, [DEFAULT_PROJECT, OTHER], NOW, randbits))

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(ask)
    assert len(answers) == 16
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == 2


async def test_a_secret_that_is_added_takes_no_others_place(storage: Storage) -> None:
    first, second = fresh(), fresh()
    await storage.add_signing_secrets([first])
    await storage.add_signing_secrets([second])
    await storage.add_signing_secrets([first])
    assert await storage.signing_secrets([DEFAULT_PROJECT], NOW) == [first]


async def test_rotation_lets_the_secret_before_it_sign_for_a_while(storage: Storage) -> None:
    (first,) = await managed(storage).valid(DEFAULT_PROJECT)
    new = await managed(storage, SOON).rotate(DEFAULT_PROJECT, HOUR)
    assert (new.expires_at, new.created_at) == (None, SOON)
    old, last = await storage.signing_secrets([DEFAULT_PROJECT], SOON)
    assert last == new
    assert (old.id, old.secret, old.expires_at) == (first.id, first.secret, SOON + HOUR)
    assert len(await storage.signing_secrets([DEFAULT_PROJECT], SOON + HOUR)) == 1


async def test_rotation_without_overlap_ends_the_secret_before_it(storage: Storage) -> None:
    await managed(storage).valid(DEFAULT_PROJECT)
    new = await managed(storage).rotate(DEFAULT_PROJECT, seconds(0))
    assert await storage.signing_secrets([DEFAULT_PROJECT], NOW) == [new]


async def test_rotation_of_a_project_that_has_none_yet(storage: Storage) -> None:
    new = await managed(storage).rotate(OTHER, HOUR)
    assert (await storage.signing_secrets([OTHER], NOW))[-1] == new
    assert await storage.signing_secrets([DEFAULT_PROJECT], NOW) == []


async def test_rotations_at_once_follow_each_other(storage: Storage) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(managed(storage).rotate, DEFAULT_PROJECT, HOUR)
    known = await storage.signing_secrets([DEFAULT_PROJECT], NOW)
    assert len(known) == 7
    assert len(current(known)) == 1


async def test_more_secrets_than_a_callback_carries_are_refused(storage: Storage) -> None:
    for _ in range(MAX_VALID - 1):
        await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    with pytest.raises(TooManySecretsError):
        await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    assert len(await storage.signing_secrets([DEFAULT_PROJECT], NOW)) == MAX_VALID
    await managed(storage, LATER).rotate(DEFAULT_PROJECT, HOUR)
    assert len(await storage.signing_secrets([DEFAULT_PROJECT], LATER)) == 2


async def test_deleting_the_current_secret_takes_a_rotation_back(storage: Storage) -> None:
    (first,) = await managed(storage).valid(DEFAULT_PROJECT)
    new = await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    await managed(storage).delete(DEFAULT_PROJECT, new.id)
    assert await storage.signing_secrets([DEFAULT_PROJECT], LATER) == [first]


async def test_deleting_an_old_secret_leaves_the_current_one(storage: Storage) -> None:
    (first,) = await managed(storage).valid(DEFAULT_PROJECT)
    new = await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    await managed(storage).delete(DEFAULT_PROJECT, first.id)
    assert await storage.signing_secrets([DEFAULT_PROJECT], NOW) == [new]


async def test_the_last_valid_secret_cannot_be_deleted(storage: Storage) -> None:
    (first,) = await managed(storage).valid(DEFAULT_PROJECT)
    await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    (new,) = await storage.signing_secrets([DEFAULT_PROJECT], LATER)
    with pytest.raises(LastSecretError):
        await managed(storage, LATER).delete(DEFAULT_PROJECT, new.id)
    with pytest.raises(SecretNotFoundError):  # it has ended
        await managed(storage, LATER).delete(DEFAULT_PROJECT, first.id)
    assert await storage.signing_secrets([DEFAULT_PROJECT], LATER) == [new]


async def test_nobody_deletes_a_secret_of_another_project(storage: Storage) -> None:
    (secret,) = await managed(storage).valid(OTHER)
    await managed(storage).rotate(OTHER, HOUR)
    await managed(storage).valid(DEFAULT_PROJECT)
    with pytest.raises(SecretNotFoundError):
        await managed(storage).delete(DEFAULT_PROJECT, secret.id)
    assert len(await storage.signing_secrets([OTHER], NOW)) == 2


async def test_deletes_of_all_secrets_at_once_leave_one(storage: Storage) -> None:
    for _ in range(3):
        await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    refused: list[SecretId] = []

    async def delete(secret_id: SecretId) -> None:
        try:
            await managed(storage).delete(DEFAULT_PROJECT, secret_id)
        except LastSecretError:
            refused.append(secret_id)

    async with trio.open_nursery() as nursery:
        for secret in await storage.signing_secrets([DEFAULT_PROJECT], NOW):
            nursery.start_soon(delete, secret.id)
    (left,) = await storage.signing_secrets([DEFAULT_PROJECT], LATER)
    assert [left.id] == refused
    assert left.expires_at is None


async def test_what_a_decision_raises_changes_nothing(storage: Storage) -> None:
    known = await managed(storage).valid(DEFAULT_PROJECT)

    def refuse(_: Sequence[SigningSecret]) -> Sequence[SigningSecret]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await storage.change_signing_secrets(DEFAULT_PROJECT, refuse)
    assert await storage.signing_secrets([DEFAULT_PROJECT], NOW) == known


async def test_a_decision_sees_what_has_ended_as_well(storage: Storage) -> None:
    await managed(storage).rotate(DEFAULT_PROJECT, HOUR)
    seen: list[int] = []

    def rotate(known: Sequence[SigningSecret]) -> Sequence[SigningSecret]:
        seen.append(len(known))
        return rotated(known, fresh(now=LATER), LATER, LATER)

    left = await storage.change_signing_secrets(DEFAULT_PROJECT, rotate)
    assert seen == [2]
    assert await storage.signing_secrets([DEFAULT_PROJECT], LATER) == left


async def test_a_claim_says_whose_secrets_sign_and_whether(
    storage: Storage, set_project: Callable[[ProjectId], None]
) -> None:
    signed, unsigned = new_timer(), new_timer(signing=Signing.NONE)
    await storage.create([signed, unsigned], NOW)
    set_project(OTHER)
    await storage.join(ALICE, NOW)
    reply = await storage.claim(ALICE, FIRST, [signed.id, unsigned.id], LATER, NOW)
    claimed = {timer.id: timer for timer in reply.claimed}
    assert {timer.project for timer in claimed.values()} == {OTHER}
    assert claimed[signed.id].spec.signing is Signing.DEFAULT
    assert claimed[unsigned.id].spec.signing is Signing.NONE
