"""The base install is the client: what only the service needs is refused to these processes."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Final

import pytest
import trio
from packaging.requirements import Requirement

from tests.api_under_test import API_KEY, served_api

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
METADATA: Final = PROJECT["project"]
PATIENCE_S: Final = 30
REFUSE: Final = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

allowed = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Refusing())
"""
CALL: Final = """
import asyncio
from timer_trio.client import AsyncClient, Client

url, key = sys.argv[1:]
with Client(url, key) as client:
    created = client.timers.create("https://example.com/hook", delay=60)

async def main():
    async with AsyncClient(url, key) as client:
        print((await client.timers.get(created.id)).status)

asyncio.run(main())
"""
COMMAND: Final = "from timer_trio.__main__ import main; main()"


@cache
def base_modules() -> frozenset[str]:
    """Return what a base install has at the top level besides the standard library."""
    wanted = [Requirement(each) for each in METADATA["dependencies"]]
    names: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        if requirement.name not in names:
            names.add(requirement.name)
            wanted += required(requirement.name)
    known = packages_distributions()
    return frozenset(
        module for module, found in known.items() if {each.lower() for each in found} & names
    )


def required(name: str) -> Iterator[Requirement]:
    for each in map(Requirement, requires(name) or ()):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            yield each


async def run_in_base(code: str, *arguments: str) -> CompletedProcess[bytes]:
    allowed = ",".join({"timer_trio", *base_modules()})
    command = [sys.executable, "-c", REFUSE + code, allowed, *arguments]
    with trio.fail_after(PATIENCE_S):
        return await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
        )


def test_base_install_is_httpx_and_what_that_needs() -> None:
    modules = base_modules()
    assert {"anyio", "httpx", "httpcore", "h11"} <= modules
    assert modules.isdisjoint({"trio", "quart", "pydantic", "psycopg", "click", "structlog"})


async def test_client_of_a_base_install_asks_a_running_service() -> None:
    async with served_api() as (_, url):
        done = await run_in_base(CALL, url, API_KEY)
    assert (done.returncode, done.stdout) == (0, b"pending\n"), done.stderr.decode()


@pytest.mark.parametrize("arguments", [["serve"], ["--version"], ["import", "-"], []])
async def test_command_of_a_base_install_says_what_to_install(arguments: list[str]) -> None:
    done = await run_in_base(COMMAND, *arguments)
    words = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    assert words.startswith("Error: this command needs what the service needs, and ")
    assert words.endswith(" is not installed: pip install 'timer-trio[server]'\n")
    assert words.count("\n") == 1


def test_command_is_the_one_that_knows_what_is_installed() -> None:
    assert METADATA["scripts"] == {"timer-trio": "timer_trio.__main__:main"}


def test_container_has_what_the_service_needs() -> None:
    wanted = METADATA["dependencies"] + METADATA["optional-dependencies"]["server"]
    locked = (ROOT / "requirements" / "runtime.txt").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)", locked, re.MULTILINE))
    assert {Requirement(each).name for each in wanted} <= names


def test_each_room_of_the_service_is_closed_to_the_client() -> None:
    (contract,) = (
        each
        for each in PROJECT["tool"]["importlinter"]["contracts"]
        if each.get("source_modules") == ["timer_trio.client"]
    )
    rooms = {path.stem for path in (ROOT / "timer_trio").iterdir() if path.suffix in {"", ".py"}}
    others = rooms - {"__init__", "__main__", "__pycache__", "client"}
    assert {f"timer_trio.{room}" for room in others} <= set(contract["forbidden_modules"])
