"""Live callbacks, verified by the libraries that people use, as docs/signatures.md says."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.acceptance.processes import PROJECT, Program, running
from tests.acceptance.service import Service
from tests.node import NODE, install

WEBHOOKS: Final = Path(__file__).parent / "webhooks"
HOLDS_S: Final = 5
"""Within this a rotation holds on all replicas."""
SLACK_S: Final = 2
DAY_S: Final = 86_400
EXEC: Final = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"

Receiver = Callable[[str], AbstractAsyncContextManager[str]]
"""Runs a receiver that knows this secret; yields its URL."""


def documented(language: str) -> str:
    text = (PROJECT / "docs" / "signatures.md").read_text()
    (code,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(code)


@asynccontextmanager
async def _url_of(running_: AbstractAsyncContextManager[Program]) -> AsyncIterator[str]:
    async with running_ as program:
        port = await program.eventually(lambda: next(iter(program.out), None))
        yield f"http://127.0.0.1:{port}/"


def python_receiver(folder: Path) -> Receiver:
    verify = folder / "verify.py"
    verify.write_text(documented("python"))
    script = str(WEBHOOKS / "receiver.py")
    return lambda secret: _url_of(running(script, str(verify), environ={"SIGNING_SECRET": secret}))


def javascript_receiver(folder: Path) -> Receiver:
    for name in (".npmrc", "package.json", "package-lock.json", "receiver.mjs"):
        shutil.copy(WEBHOOKS / name, folder)
    (folder / "verify.mjs").write_text(documented("js"))
    install(folder)
    script = str(folder / "receiver.mjs")
    return lambda secret: _url_of(
        running("-c", EXEC, str(NODE), script, environ={"SIGNING_SECRET": secret}, folder=folder)
    )


async def _secrets(served: Service) -> list[Any]:
    answer = await served.consumer.ask("GET", "/signing-secrets")
    assert answer.status == 200, answer
    return list(answer.data["signing_secrets"])


async def _status_from(served: Service, url: str, **fields: Any) -> int:
    """Tell what a receiver answers to a callback."""
    timer_id = await served.consumer.create(
        delay=0, callback_url=url, callback_payload={"greeting": "grüß"}, **fields
    )
    await served.consumer.wait_ended()
    return int((await served.consumer.get(timer_id))["http_status"])


async def _wait_status_from(served: Service, url: str, status: int) -> None:
    with trio.fail_after(HOLDS_S + SLACK_S):
        while await _status_from(served, url) != status:  # noqa: ASYNC110 - as a consumer would
            await trio.sleep(0.2)


@pytest.mark.parametrize("made", [python_receiver, javascript_receiver])
async def test_live_callbacks_verify_before_during_and_after_a_rotation(
    served: Service, folder: Path, made: Callable[[Path], Receiver]
) -> None:
    receiver = made(folder)
    (old,) = await _secrets(served)
    async with receiver(old["secret"]) as by_old:
        assert await _status_from(served, by_old) == 204
        assert await _status_from(served, by_old, signing="none") == 401
        answer = await served.consumer.ask(
            "POST", "/signing-secrets/rotate", {"overlap_seconds": DAY_S}
        )
        async with receiver(answer.data["secret"]) as by_new:
            await _wait_status_from(served, by_new, 204)
            for url in (by_old, by_new, by_old, by_new):
                assert await _status_from(served, url) == 204
            path = f"/signing-secrets/{old['id']}"
            assert (await served.consumer.ask("DELETE", path)).status == 200
            await _wait_status_from(served, by_old, 401)
            assert await _status_from(served, by_new) == 204
    assert [each["id"] for each in await _secrets(served)] == [answer.data["id"]]
    assert old["secret"] not in "\n".join((*served.program.err, *served.program.out))
