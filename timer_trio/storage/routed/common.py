"""What all cells know alike, and how a cell comes to know it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Final, TypeVar, cast

from timer_trio.domain.api_key import KeyId, KnownKey
from timer_trio.domain.project import Project, ProjectId, ProjectSettings, SettingsChange
from timer_trio.domain.rules import NOT_PAUSED, Pause
from timer_trio.domain.signing import SigningSecret
from timer_trio.domain.timer import Destination
from timer_trio.storage.protocols import SigningStorage, Storage

T = TypeVar("T")

_EVER: Final = datetime.min.replace(tzinfo=UTC)
"""Whatever ends has not ended then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all cells are to know, as one of them knows it."""

    seal: bytes
    projects: Sequence[Project]
    keys: Mapping[ProjectId, Collection[KeyId]]
    secrets: Mapping[ProjectId, Sequence[SigningSecret]]
    pauses: Mapping[tuple[ProjectId, Destination | None], Pause]
    """Of destinations, and of projects as such."""


async def read_common(storage: Storage) -> Common:
    projects = await storage.projects()
    numbers = [project.id for project in projects]
    secrets = await storage.signing_secrets(numbers, _EVER)
    return Common(
        seal=await storage.key_seal(),
        projects=projects,
        keys={each: [key.id for key in await storage.api_keys(each)] for each in numbers},
        secrets={each: [s for s in secrets if s.project == each] for each in numbers},
        pauses=await _pauses_of(storage),
    )


async def write_common(common: Common, storage: Storage) -> Sequence[KeyId]:
    """Have a storage know that; answers which keys it lacks still.

    What signs and what is paused is so afterwards; of projects nothing is taken away.

    Raises:
        ProjectNameTakenError: another project has a name or a number.
    """
    if await storage.key_seal() != common.seal:
        await storage.set_key_seal(common.seal)
    for project in common.projects:
        await put_project(project, storage)
        if secrets := common.secrets[project.id]:
            await put_secrets(project.id, secrets, storage)
    await _put_pauses(storage, common.pauses)
    return [
        key_id
        for project, key_ids in common.keys.items()
        for key_id in {*key_ids} - {key.id for key in await storage.api_keys(project)}
    ]


async def read_keys(key_ids: Sequence[KeyId], storage: Storage) -> Sequence[KnownKey]:
    """Read keys, but for those of closed projects: nobody can use them."""
    found = [await storage.known_key(key_id) for key_id in key_ids]
    return [key for key in found if key is not None]


async def write_keys(keys: Sequence[KnownKey], storage: Storage) -> None:
    for known in keys:
        await storage.create_api_key(known.key, known.secret_sha256)


async def put_secrets(
    project: ProjectId, secrets: Sequence[SigningSecret], storage: SigningStorage
) -> None:
    """Have a project signed with these secrets and no others; the current one is the last."""
    if await all_secrets(project, storage) == secrets:
        return
    # A change brings one new secret at most, and that as the current one.
    for count, current in enumerate(secrets):
        so_far = [*secrets[:count], replace(current, expires_at=None)]
        await storage.change_signing_secrets(project, always(so_far))


async def all_secrets(project: ProjectId, storage: SigningStorage) -> Sequence[SigningSecret]:
    """Read the secrets of a project, those that have ended as well."""
    return await storage.change_signing_secrets(project, lambda known: known)


def always(answer: T) -> Callable[[object], T]:
    """Return what decides the same whatever is known."""
    return lambda _: answer


async def put_project(project: Project, storage: Storage) -> None:
    """Have a storage know a project and its settings, and whether it is closed.

    Raises:
        ProjectNameTakenError: another project has its name or its number.
    """
    known = await storage.create_project(project.name, project.created_at, project.id)
    if known.settings != project.settings:
        if known.closed_at is not None:
            await storage.open_project(project.id)
        known = await storage.change_project(project.id, _whole(project.settings))
    if project.closed_at is not None:
        await storage.close_project(project.id, project.closed_at)
    elif known.closed_at is not None:
        await storage.open_project(project.id)


def _whole(settings: ProjectSettings) -> SettingsChange:
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return cast("SettingsChange", values)


async def _pauses_of(storage: Storage) -> Mapping[tuple[ProjectId, Destination | None], Pause]:
    rules = await storage.rules_since(0)
    return {
        **{(each.project, None): each.pause for each in rules.projects},
        **{(each.project, each.destination): each.pause for each in rules.destinations},
    }


async def _put_pauses(
    storage: Storage, wanted: Mapping[tuple[ProjectId, Destination | None], Pause]
) -> None:
    known = await _pauses_of(storage)
    for project, destination in {**known, **wanted}:
        own = known.get((project, destination), NOT_PAUSED)
        pause = wanted.get((project, destination), NOT_PAUSED)
        if own.paused_at == pause.paused_at:
            continue
        if own.paused_at is not None:
            await _resume(storage, project, destination, pause.resumed_at or own.paused_at)
        if pause.paused_at is not None:
            await _pause(storage, project, destination, pause.paused_at)


async def _pause(
    storage: Storage, project: ProjectId, destination: Destination | None, at: datetime
) -> None:
    if destination is None:
        await storage.pause_project(project, at)
    else:
        await storage.pause_destination(project, destination, at)


async def _resume(
    storage: Storage, project: ProjectId, destination: Destination | None, at: datetime
) -> None:
    if destination is None:
        await storage.resume_project(project, at)
    else:
        await storage.resume_destination(project, destination, at)
