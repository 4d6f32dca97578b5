from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import click
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from tests.command import run_command
from tests.contract.timers import ALICE, new_timer
from tests.folders import database_folder
from timer_trio import __version__
from timer_trio.cli import main
from timer_trio.embedded import PostgresServer
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage

KEY = "k3y-" * 8
PROJECT = Path(__file__).parents[2]
WITHOUT_PROGRAMS = """
from timer_trio.embedded import binaries
binaries.find_spec = lambda _name: None
from timer_trio.cli import main
main(["serve"])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with database_folder() as made:
        yield made


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(  # noqa: S603 - our own commands
        [
            sys.executable,
            *(arguments if arguments[0] == "-c" else ("-m", "timer_trio", *arguments)),
        ],
        cwd=folder,
        env=inherited | {"DATA_DIR": str(folder / "data"), "HOME": str(folder)} | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    with start(folder, *arguments, **environ) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def refusal(folder: Path, *arguments: str, **environ: str) -> str:
    code, _, err = run_command(folder, *arguments, **environ)
    assert code == 2
    return err


LOADED = """
import sys
from timer_trio.cli import main
main(["serve", "--help"], standalone_mode=False)
print(*{"httpx", "quart_trio"} & sys.modules.keys())
"""


def paths(command: click.Command, *path: str) -> Iterator[str]:
    """Spell a command and all that are below it and shown."""
    yield " ".join(path)
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                if below is not None and not below.hidden:
                    yield from paths(below, *path, name)


@pytest.mark.parametrize("command", [*paths(main)])
def test_each_command_explains_itself(folder: Path, command: str) -> None:
    code, out, _ = run_command(folder, *command.split(), "-h")
    assert (code, "--help" in out) == (0, True)
    assert out.startswith(f"Usage: main {command}".rstrip())
    told = run_command(folder, *command.split(), "--version")
    assert told == (0, f"timer-trio {__version__}\n", "")


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_each_command_is_found_under_its_own_name(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name


def test_command_loads_what_it_needs_alone(folder: Path) -> None:
    _, out, _ = ended(folder, "-c", LOADED)
    assert out.splitlines()[-1] == ""


def test_module_is_the_command(folder: Path) -> None:
    assert ended(folder, "--version") == (0, f"timer-trio {__version__}\n", "")


def test_wrong_settings_are_told_at_once_and_without_secrets(folder: Path) -> None:
    (folder / ".env").write_text("TIMER_TRIO_LOG_LEVEL=loud\nWORKERS=0\n")
    text = refusal(
        folder, "serve", PORT="x", API_KEY="s3cret", DATABASE_URL="postgresql://a:b%zz@c"
    )
    lines = {line.split()[0] for line in text.splitlines()}
    assert lines == {"TIMER_TRIO_LOG_LEVEL", "WORKERS", "PORT", "API_KEY", "DATABASE_URL"}
    assert "s3cret" not in text
    assert "zz" not in text


def test_file_of_somebody_else_is_left_alone_and_said_to_be(folder: Path) -> None:
    # Broken as well: what it says is for others.
    (folder / ".env").write_text(f"DATABASE_URL=mysql://shop\nAPI_KEY={KEY}\n= 'x\n")
    told = "env_file_ignored"
    code, _, err = run_command(folder, "replicas", "--url", "http://127.0.0.1:1", LOG_FORMAT="json")
    log, refused = err.splitlines()
    assert (code, json.loads(log)["event"]) == (2, told)
    assert refused.startswith("API_KEY is not set")
    assert told not in refusal(folder, "replicas", "--url", "http://127.0.0.1:1", LOG_LEVEL="warn")


def test_line_of_the_file_that_cannot_be_read_is_told_without_what_it_says(folder: Path) -> None:
    (folder / ".env").write_text("TIMER_TRIO_PORT=1\n\nTIMER_TRIO_API_KEY='s3cret\n")
    text = refusal(folder, "serve", LOG_FORMAT="json")
    assert text == (
        ".env cannot be read: each line must be NAME=value, a comment or blank, and a quote must "
        "end; look at line 3\n"
    )


def test_missing_file_for_hypercorn_is_refused(folder: Path) -> None:
    assert "does not exist" in refusal(folder, "serve", "--hypercorn-config", "none.toml")


def test_ca_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    assert refusal(folder, "serve", CALLBACK_CA_FILE="none.pem") == (
        "CALLBACK_CA_FILE must be the path of a file with certificates in PEM form: "
        f"{folder.resolve()}/none.pem cannot be read: No such file or directory\n"
    )


def test_installation_without_postgresql_says_so(folder: Path) -> None:
    code, _, text = ended(folder, "-c", WITHOUT_PROGRAMS)
    assert (code, "Traceback" in text) == (2, False)
    assert "DATABASE_URL is not set and this installation carries no PostgreSQL" in text


def test_database_that_is_away_is_told_without_its_password(folder: Path) -> None:
    url = "postgresql://user:pa55word@127.0.0.1:1/timers"
    for command in ("create", "status"):
        text = refusal(folder, "db", command, DATABASE_URL=url, API_KEY=KEY)
        assert "Connection refused" in text
        assert "pa55word" not in text


def test_schema_comes_and_goes_in_the_embedded_database(folder: Path) -> None:
    assert "missing" in run_command(folder, "db", "status")[1]
    assert run_command(folder, "db", "migrate")[1].startswith("applied 0001")
    assert "up to date" in run_command(folder, "db", "migrate")[1]
    assert "missing" not in run_command(folder, "db", "status")[1]
    assert run_command(folder, "db", "revert", "--yes", "--steps", "99")[1].startswith("reverted ")
    assert "missing" in run_command(folder, "db", "status")[1]


def test_database_of_a_running_service_is_reached_beside_it(folder: Path) -> None:
    service = PostgresServer(folder / "data")
    url = trio.run(service.start)
    try:
        assert "missing" in run_command(folder, "db", "status")[1]
        named = url.replace("/postgres?", "/timers?")
        outside = {"DATABASE_URL": named, "API_KEY": KEY}
        assert run_command(folder, "db", "create", **outside)[1] == "created\n"
        assert run_command(folder, "db", "create", **outside)[1] == "it is there already\n"
        assert run_command(folder, "db", "migrate", **outside)[1].startswith("applied 0001")
        assert "missing" in run_command(folder, "db", "status")[1]
    finally:
        trio.run(service.stop)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_service_does_not_start_in_a_database_of_others(
    folder: Path, empty_database_url: str, workers: str
) -> None:
    environ = {
        "TIMER_TRIO_DATABASE_URL": as_url(empty_database_url),
        "TIMER_TRIO_API_KEY": KEY,
        "TIMER_TRIO_PORT": "0",
        "TIMER_TRIO_WORKERS": workers,
    }
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders ()")
        code, _, err = ended(folder, "serve", **environ)
        assert (code, "Traceback" in err) == (2, False)
        assert "holds tables of others (`orders`): let DATABASE_URL name" in err
        assert connection.execute("SELECT to_regclass('timers')").fetchone() == (None,)
    assert "tables of others" in refusal(folder, "db", "migrate", **environ)
    code, out, _ = run_command(folder, "db", "migrate", "--into-existing", **environ)
    assert (code, out.startswith("applied 0001")) == (0, True)
    assert "up to date" in run_command(folder, "db", "migrate", **environ)[1]


def as_url(conninfo: str) -> str:
    parts = conninfo_to_dict(conninfo)
    return f"postgresql:///{parts.pop('dbname')}?{urlencode(parts)}"


def test_revert_asks_before_it_destroys(folder: Path) -> None:
    with start(folder, "db", "revert") as process:
        out, _ = process.communicate("n\n", timeout=60)
    assert "Go on?" in out
    assert process.returncode == 1
    assert not (folder / "data").exists()


async def cancel_timers(url: str, ages: Iterable[timedelta]) -> None:
    """Write timers that were canceled so long ago."""
    await migrate_database(url)
    with closing(PostgresStorage(url, pool_size=1)) as storage:
        now = (await storage.beat(ALICE)).now
        for age in ages:
            timer = new_timer(created_at=now - age)
            await storage.create([timer], now - age)
            await storage.cancel(timer.id, now - age)


def test_prune_deletes_what_ended_long_ago_and_asks_before(folder: Path) -> None:
    service = PostgresServer(folder / "data")
    url = trio.run(service.start)
    try:
        hours = (1, 11, 13, 40, 50)
        trio.run(cancel_timers, url, [timedelta(hours=count) for count in hours])
        prune = ("db", "prune", "--older-than")
        code, out, _ = run_command(folder, *prune, "12h", "--dry-run")
        assert code == 0
        assert out.startswith("3 timers ended before 20")
        with start(folder, *prune, "1d") as process:
            out, _ = process.communicate("n\n", timeout=60)
        assert process.returncode == 1
        assert out.startswith("2 timers ended before ")
        assert "Delete them?" in out
        with start(folder, *prune, "1d") as process:
            _, err = process.communicate("", timeout=60)
        assert (process.returncode, "--yes" in err) == (2, True)
        code, out, progress = run_command(folder, *prune, "1d", "--yes")
        assert (code, out) == (0, "deleted 2 timers\n")
        assert "deleting" in progress
        assert run_command(folder, *prune, "12h", "--yes")[1] == "deleted 1 timers\n"
        assert run_command(folder, *prune, "12h", "--yes")[1].startswith("0 timers ended before ")
    finally:
        trio.run(service.stop)


@pytest.mark.parametrize("age", ["30", "0d", "-1d", "1.5d", "2w", "100000d", "d", "1d\n"])
def test_age_that_is_none_is_refused(folder: Path, age: str) -> None:
    assert "such as 30d or 12h" in refusal(folder, "db", "prune", "--older-than", age)


def test_prune_of_a_database_without_a_schema_says_what_to_do(folder: Path) -> None:
    assert "timer-trio db migrate" in refusal(folder, "db", "prune", "--older-than", "1d")


ENCRYPTION_KEYS = [
    "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0=",
    "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=",
]


def test_reencrypt_rewrites_what_has_another_key(folder: Path, database_url: str) -> None:
    old, new = ENCRYPTION_KEYS
    trio.run(cancel_timers, database_url, [timedelta(hours=1), timedelta(hours=2)])
    here = {"DATABASE_URL": as_url(database_url), "API_KEY": "k" * 32}

    def reencrypt(keys: str, *options: str) -> tuple[int, str, str]:
        return run_command(folder, "db", "reencrypt", *options, ENCRYPTION_KEYS=keys, **here)

    for keys, options, count in (
        (old, (), 2),
        (old, (), 0),
        (f"{new},{old}", (), 2),
        (f"plain,{new}", (), 2),
        (new, (), 2),
        (f"{new},{old}", ("--decrypt",), 2),
        (old, (), 2),
    ):
        code, out, _ = reencrypt(keys, *options)
        assert code == 0
        assert f"timers: {count} rewritten\n" in out
    code, out, err = reencrypt(new)
    assert (code, "timers: 0 rewritten" in out) == (2, True)
    assert "2 rows are encrypted with a key that is not in ENCRYPTION_KEYS" in err
    assert not any(key in out + err for key in ENCRYPTION_KEYS)
    code, _, err = run_command(folder, "db", "reencrypt", **here)
    assert (code, "ENCRYPTION_KEYS is not set" in err) == (2, True)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO replicas (id, started_at, version)"
            " VALUES (gen_random_uuid(), now(), '0.1.0')"
        )
    code, _, err = reencrypt(old)
    assert (code, "replicas of older releases (0.1.0) cannot read it" in err) == (2, True)


def test_reencrypt_of_a_database_without_a_schema_says_what_to_do(folder: Path) -> None:
    key = ENCRYPTION_KEYS[0]
    words = refusal(folder, "db", "reencrypt", ENCRYPTION_KEYS=key)
    assert "timer-trio db migrate" in words


def test_partition_tells_what_it_does_and_does_it(folder: Path, database_url: str) -> None:
    here = {"DATABASE_URL": as_url(database_url), "API_KEY": "k" * 32}

    def partition(*options: str) -> tuple[int, str, str]:
        return run_command(folder, "db", "partition", *options, **here)

    code, out, _ = partition("--by", "2", "--dry-run")
    assert code == 0
    assert "It becomes 2 partitions of 128 shards:" in out
    assert "then all rows of both are compared in one snapshot" in out
    code, _, err = partition("--by", "2")
    assert code == 0
    assert "0 rows are the same in both" in err
    assert "`timers` is 2 partitions of 128 shards now; everybody was locked out for" in err
    assert partition("--undo") == (0, "nothing to undo: no copy is begun\n", "")
    code, out, _ = partition("--by", "2", "--dry-run")
    assert out == "`timers` is 2 partitions of 128 shards already: nothing to do\n"
    for options in ((), ("--by", "2", "--undo"), ("--undo", "--dry-run"), ("--by", "3")):
        assert partition(*options)[0] == 2
    code, out, _ = run_command(folder, "db", "status", **here)
    assert out.startswith("0000 partitions  after 0.2.0  applied ")


def test_listener_ends_quietly_on_ctrl_c(folder: Path) -> None:
    with start(folder, "listen", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Waiting for callbacks on http://127.0.0.1:")
        second = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (second, process.returncode, err) == ("\n", 0, "")


def test_listener_tells_of_a_port_in_use(folder: Path) -> None:
    with start(folder, "listen", "--port", "0") as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(":")[2].split("/")[0]
        assert "in use" in refusal(folder, "listen", "--port", port)
        process.terminate()
        process.communicate(timeout=10)
