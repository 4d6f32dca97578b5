"""`timer-trio signing-secrets` over sockets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.api_under_test import API_KEY, served_api
from tests.command import run_command

NOBODY = "00000000-0000-4000-8000-000000000000"


async def tried(folder: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    environ = {"API_KEY": API_KEY}
    ask = partial(run_command, folder, "signing-secrets", "--url", url, *arguments, **environ)
    return await trio.to_thread.run_sync(ask)  # noqa: TID251 - the API must run


async def asked(folder: Path, url: str, *arguments: str) -> Any:
    code, out, err = await tried(folder, url, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


async def test_secrets_are_listed_rotated_and_deleted(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        (old,) = (await asked(tmp_path, url, "list"))["signing_secrets"]
        new = await asked(tmp_path, url, "rotate", "--overlap", "1h")
        listed = (await asked(tmp_path, url, "list"))["signing_secrets"]
        assert listed == [{**old, "expires_at": "2030-01-01T01:00:00Z"}, new]
        assert await asked(tmp_path, url, "delete", old["id"]) == {"id": old["id"]}
        code, out, err = await tried(tmp_path, url, "list")
        assert (code, err) == (0, "")
        assert out == f"{new['id']}\t{new['secret']}\t2030-01-01T00:00:00Z\t\n"


async def test_rotation_lets_the_old_one_sign_for_a_day(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        await asked(tmp_path, url, "list")
        code, out, _ = await tried(tmp_path, url, "rotate")
        assert code == 0
        assert dict(line.split("\t") for line in out.splitlines())["secret"].startswith("whsec_")
        old, _ = (await asked(tmp_path, url, "list"))["signing_secrets"]
        assert old["expires_at"] == "2030-01-02T00:00:00Z"


async def test_they_are_those_of_the_project_that_is_named(tmp_path: Path) -> None:
    async with served_api() as (api, url):
        await asked(tmp_path, url, "list")
        created = await api.client.post("/projects", json={"name": "shop"})
        assert created.status_code == 201
        new = await asked(tmp_path, url, "--project", "shop", "rotate")
        assert new in (await asked(tmp_path, url, "--project", "shop", "list"))["signing_secrets"]
        assert new not in (await asked(tmp_path, url, "list"))["signing_secrets"]


async def test_refusals_are_told_in_words(tmp_path: Path) -> None:
    async with served_api() as (_, url):
        (only,) = (await asked(tmp_path, url, "list"))["signing_secrets"]
        code, out, err = await tried(tmp_path, url, "delete", only["id"])
        assert (code, out) == (1, "")
        assert "last valid secret" in err
        code, _, err = await tried(tmp_path, url, "delete", NOBODY)
        assert (code, err) == (1, "no valid signing secret has this id\n")
        code, _, err = await tried(tmp_path, url, "rotate", "--overlap", "31d")
        assert code == 1
        assert "overlap_seconds" in err
        code, _, err = await tried(tmp_path, url, "delete", "x")
        assert code == 2
