"""The role that compose.yaml makes for the service, by PostgreSQL's own client."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.roles import documented_grants
from timer_trio.embedded.binaries import installed_programs
from timer_trio.storage.migrations.migrate import migrate

COMPOSE: Final[Any] = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())
SCRIPT: Final[str] = COMPOSE["configs"]["role"]["content"]
ROLE: Final = "timers"


def run(url: str, folder: Path, password: str) -> None:
    """Run the script as its container does; the database has another name here."""
    known = conninfo_to_dict(url)
    script = folder / "role.sql"
    script.write_text(SCRIPT.replace("ON DATABASE timers", f'ON DATABASE "{known["dbname"]}"'))
    program, *options = COMPOSE["services"]["role"]["command"]
    assert options.pop() == "--file=/role.sql"
    subprocess.run(  # noqa: S603 - what compose.yaml has
        [installed_programs() / "bin" / program, *options, f"--file={script}", url],
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "TIMERS_PASSWORD": password},
    )


@pytest.fixture
def role_url(empty_database_url: str) -> Iterator[str]:
    yield make_conninfo(empty_database_url, user=ROLE)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {ROLE} CASCADE; DROP ROLE {ROLE}".encode())


def owners(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace"
        )
        return {name for (name,) in rows}


def test_role_owns_what_it_makes_and_is_no_superuser(
    empty_database_url: str, role_url: str, tmp_path: Path
) -> None:
    for password in ("first", "second"):
        run(empty_database_url, tmp_path, password)
    with psycopg.connect(role_url, autocommit=True) as connection:
        migrate(connection)
        found = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert found == (False,)
    assert owners(empty_database_url) == {ROLE}


def test_tables_of_the_superuser_change_hands(
    empty_database_url: str, role_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        migrate(connection)
    run(empty_database_url, tmp_path, "secret")
    assert owners(empty_database_url) == {ROLE}
    with psycopg.connect(role_url) as connection:
        connection.execute(
            "INSERT INTO timer_trio_migrations SELECT * FROM timer_trio_migrations LIMIT 0"
        )


def test_role_has_what_is_documented() -> None:
    grants = [line for line in documented_grants(ROLE).splitlines() if line.startswith("GRANT")]
    assert grants
    assert all(grant in SCRIPT for grant in grants)
