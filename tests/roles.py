"""Roles with just the grants that README documents."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

README: Final = Path(__file__).parents[1] / "README.md"
_NUMBERS: Final = itertools.count()


def documented_grants(role: str) -> str:
    """Find the statements that README has for this role."""
    blocks: list[str] = re.findall(r"```sql\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if f"CREATE ROLE {role} " in block]
    return block


@contextmanager
def documented_role(database_url: str, role: str) -> Iterator[str]:
    """Make such a role for one database; yields the URL with which it connects."""
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    database = str(conninfo_to_dict(database_url)["dbname"])
    statements = documented_grants(role).replace("DATABASE timers", f"DATABASE {database}")
    statements = re.sub(rf"(ROLE|TO) {role}\b", rf"\1 {name}", statements)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statements.encode())
        try:
            yield make_conninfo(database_url, user=name)
        finally:
            for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
                connection.execute(SQL(statement).format(Identifier(name)))
