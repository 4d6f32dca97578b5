"""Clients that generators write from the document, used as docs/generated-clients.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import trio

from tests.acceptance.processes import PROJECT
from tests.acceptance.service import API_KEY, Service
from tests.node import NODE, install

GENERATED: Final = Path(__file__).parent / "generated"
PATIENCE_S: Final = 60
DONE: Final = ("timer.created", "timer.changed", "timer.canceled", "timer.redriven")


def documented(language: str) -> str:
    text = (PROJECT / "docs" / "generated-clients.md").read_text()
    (code,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(code)


async def run(folder: Path, *command: object, **environ: str) -> str:
    """Run a command in a folder, with the programs of this environment; tell what it has said."""
    here = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with trio.fail_after(PATIENCE_S):
        done = await trio.run_process(
            [*map(str, command)],
            cwd=folder,
            env={**os.environ, **here, **environ},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


async def document_of(served: Service) -> Any:
    return (await served.consumer.ask("GET", "/openapi.json")).body


def operations_in(document: Any) -> list[Any]:
    return [each for methods in document["paths"].values() for each in methods.values()]


def modules_in(client: Path) -> set[str]:
    """Return the names of a Python client's operations, as far as their module's name tells."""
    paths = (client / "api").glob("*/*.py")
    return {path.stem.replace("_", "") for path in paths if path.stem != "__init__"}


def models_in(document: Any) -> set[str]:
    schemas = document["components"]["schemas"]
    return {name for name, schema in schemas.items() if "properties" in schema or "enum" in schema}


def address_of(served: Service) -> dict[str, str]:
    return {"TIMERS_URL": f"http://127.0.0.1:{served.consumer.port}", "API_KEY": API_KEY}


async def check_use(served: Service, said: str) -> None:
    """Claim that a client has found its one timer, and has done with it all that is documented."""
    assert said.splitlines() == ["1 of acme", "pending"]
    with trio.fail_after(PATIENCE_S):
        while (done := await actions(served))[: len(DONE)] != [*DONE]:  # noqa: ASYNC110 - a probe
            await trio.sleep(0.05)
    assert len(done) == len(DONE)


async def actions(served: Service) -> list[str]:
    answer = await served.consumer.ask("GET", "/audit")
    told = [each["action"] for each in reversed(answer.data["audit"])]
    return [action for action in told if action.startswith("timer.")]


async def test_python_client_is_whole_and_works(served: Service, folder: Path) -> None:
    (folder / "generator.yaml").write_text(documented("yaml"))
    (folder / "client.py").write_text(documented("python"))
    document = await document_of(served)
    (folder / "openapi.json").write_text(json.dumps(document))
    generator = (sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning")
    target = ("--meta", "none", "--output-path", "timers_client", "--config", "generator.yaml")
    said = await run(folder, *generator, *target, "--path", "openapi.json")
    assert "warning" not in said.lower()
    names = {each["operationId"].lower() for each in operations_in(document)}
    assert modules_in(folder / "timers_client") == names
    models = (folder / "timers_client" / "models" / "__init__.py").read_text()
    assert models_in(document) <= set(re.findall(r'"(\w+)"', models))
    await check_use(served, await run(folder, sys.executable, "client.py", **address_of(served)))


async def test_typescript_client_is_whole_and_works(served: Service, folder: Path) -> None:
    for name in ("package.json", "package-lock.json", "tsconfig.json", ".npmrc"):
        shutil.copy(GENERATED / name, folder)
    (folder / "client.ts").write_text(documented("ts"))
    document = await document_of(served)
    (folder / "openapi.json").write_text(json.dumps(document))
    await trio.to_thread.run_sync(install, folder)  # noqa: TID251 - nothing else is under way
    modules = folder / "node_modules"
    generator = modules / "openapi-typescript" / "bin" / "cli.js"
    options = ("--default-non-nullable=false", "--output", "timers.ts")
    said = await run(folder, NODE, generator, "openapi.json", *options)
    assert "warn" not in said.lower()
    types = (folder / "timers.ts").read_text()
    for operation in operations_in(document):
        assert f"    {operation['operationId']}: {{" in types
    for name in models_in(document):
        assert re.search(rf"^ +{name}: ", types, re.MULTILINE)
    await run(folder, NODE, modules / "typescript" / "bin" / "tsc")
    await check_use(served, await run(folder, NODE, "client.ts", **address_of(served)))
