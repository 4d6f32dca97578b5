"""The commands of the guides, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import ssl
from pathlib import Path
from typing import Any, Final

import click
import httpx
import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo

from tests.acceptance.conftest import as_url
from tests.acceptance.processes import PROJECT, running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, service
from tests.debian import program
from timer_trio.cli import main
from timer_trio.embedded.binaries import installed_programs

GUIDES: Final = PROJECT / "docs" / "guides"
KEYS: Final = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
CREDENTIALS: Final = "Bearer s3cret"


def commands(guide: str, beginning: str) -> str:
    """Return the one command of a guide that begins so, with the lines that it goes on in."""
    text = (GUIDES / f"{guide}.md").read_text().replace("\\\n", " ")
    (found,) = re.findall(rf"^\$ ({re.escape(beginning)}.*)$", text, re.MULTILINE)
    return str(found)


async def sh(command: str, folder: Path, **environ: str) -> str:
    path = f"{installed_programs() / 'bin'}:{os.environ['PATH']}"
    done = await trio.run_process(
        ["sh", "-ec", command],
        cwd=folder,
        env={**environ, "PATH": path},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout.decode()


async def told(command: str, **environ: str) -> str:
    """Run a command `timer-trio …` to its end; answers what it prints."""
    name, *arguments = command.partition("#")[0].split()
    assert name == "timer-trio"
    async with running("-m", name.replace("-", "_"), *arguments, environ=environ) as ran:
        assert await ran.wait_ended() == 0, ran.err
        return "\n".join(ran.out)


async def test_backup_is_restored_paused_with_what_is_encrypted(
    service_database: str, receiver: ReceiverProcess, folder: Path
) -> None:
    wanted: dict[str, Any] = {
        "callback_url": receiver.url(),
        "callback_headers": {"Authorization": CREDENTIALS},
        "callback_payload": "secret",
        "misfire_grace_seconds": None,
    }
    async with service(DATABASE_URL=service_database, ENCRYPTION_KEYS=KEYS) as served:
        far = await served.consumer.create(**wanted, delay=3600)
        held_back = await served.consumer.create(**wanted, delay=3600)
        await sh(commands("backup", "pg_dump"), folder, DATABASE_URL=service_database)
        await served.stop()

    admin = as_url(make_conninfo(service_database, dbname="postgres"))
    restored = as_url(make_conninfo(service_database, dbname="timers_restored"))
    await sh(commands("backup", "createdb"), folder, ADMIN_URL=admin)
    try:
        await sh(commands("backup", "pg_restore"), folder, RESTORED_URL=restored)
        with psycopg.connect(restored, autocommit=True) as connection:
            # Time has passed: it has fallen due since.
            connection.execute(
                "UPDATE timers SET execute_at = now() - interval '1 hour', due_at = now()"
                " WHERE id = %s",
                [held_back],
            )
        start = commands("backup", "START_PAUSED=true")
        assert start == 'START_PAUSED=true DATABASE_URL="$RESTORED_URL" timer-trio serve'
        async with service(
            START_PAUSED="true", DATABASE_URL=restored, ENCRYPTION_KEYS=KEYS
        ) as served:
            assert (await served.consumer.get(far))["callback_headers"][
                "Authorization"
            ] == CREDENTIALS
            known = {
                "TIMER_TRIO_URL": f"http://127.0.0.1:{served.consumer.port}",
                "API_KEY": API_KEY,
            }
            listed = await told(commands("backup", "timer-trio timers list"), **known)
            assert held_back in listed
            assert far not in listed
            await told(commands("backup", "timer-trio bulk cancel"), **known)
            await told(commands("backup", "timer-trio resume"), **known)
            assert (await served.consumer.get(held_back))["status"] == "canceled"
            assert (await served.consumer.get(far))["status"] == "pending"
            assert receiver.arrivals == []
            await served.stop()
    finally:
        with psycopg.connect(service_database, autocommit=True) as connection:
            connection.execute("DROP DATABASE timers_restored WITH (FORCE)")


async def test_service_speaks_tls_by_the_files_of_the_guide(
    service_database: str, folder: Path
) -> None:
    program("openssl")
    await sh(commands("tls", "openssl"), folder, HOME=str(folder))
    guide = (GUIDES / "tls.md").read_text()
    (settings,) = re.findall(r"^```toml\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    settings = settings.replace("/etc/timer-trio/", f"{folder}/").replace(
        "0.0.0.0:8443", "127.0.0.1:0"
    )
    (folder / "hypercorn.toml").write_text(settings)
    options = ("--hypercorn-config", str(folder / "hypercorn.toml"))
    async with service(*options, DATABASE_URL=service_database) as served:
        url = f"https://localhost:{served.consumer.port}"
        trusted = ssl.create_default_context(cafile=str(folder / "tls.crt"))
        async with httpx.AsyncClient(verify=trusted) as client:
            assert (await client.get(f"{url}/health")).status_code == 200
        command = commands("tls", "SSL_CERT_FILE=tls.crt").removeprefix("SSL_CERT_FILE=tls.crt ")
        command = command.replace("https://localhost:8443", url)
        certificate = {"SSL_CERT_FILE": str(folder / "tls.crt")}
        assert await told(command, API_KEY=API_KEY, **certificate) == ""
        await served.stop()


async def test_secret_of_the_guide_is_one(service_database: str, folder: Path) -> None:
    program("openssl")
    await sh(commands("secrets", "(umask 077"), folder, HOME=str(folder))
    file = folder / "api-key"
    assert file.stat().st_mode & 0o077 == 0
    async with service(DATABASE_URL=service_database, API_KEY="", API_KEY_FILE=str(file)) as served:
        key = {"X-API-Key": file.read_text().strip()}
        async with httpx.AsyncClient(headers=key) as client:
            url = f"http://127.0.0.1:{served.consumer.port}/timers"
            assert (await client.get(url)).status_code == 200
        await served.stop()


@pytest.mark.parametrize("guide", sorted(path.stem for path in GUIDES.glob("*.md")))
def test_commands_of_a_guide_are_there(guide: str) -> None:
    """Whatever `timer-trio` is told: the command exists, and takes these options there."""
    text = (GUIDES / f"{guide}.md").read_text().replace("\\\n", " ")
    for line in re.findall(r"^\$ (?:[A-Z_]+=\S+ )*timer-trio (.+)$", text, re.MULTILINE):
        command: click.Command = main
        for word in shlex.split(line, comments=True):
            if word.startswith("-"):
                known = {name for option in command.params for name in option.opts}
                assert word in known, line
            elif isinstance(command, click.Group):
                command = command.get_command(click.Context(command), word) or command
        assert command is not main, line
