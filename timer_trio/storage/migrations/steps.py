"""The steps of the schema: the numbered files of `schema/`.

A *before* step only adds: replicas of older releases go on beside it. An *after* step is what they
cannot live with. Its file begins with `-- after 0.3.0`, the oldest release that can. A *concurrent*
step, whose file begins with `-- concurrently`, is one statement each way that builds or drops an
index and cannot be in a transaction. Nothing but speed depends on it: all code and all other steps
do without. One by which older releases would become slow begins with `-- concurrently, after
0.3.0`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

_UP_FILE: Final = re.compile(r"(\d{4})_(\w+)\.up\.sql")
_CONCURRENTLY: Final = re.compile(r"-- concurrently\b")
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)
_MAKES: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\w+)\s+ON\s[^;]+")
_DROPS: Final = re.compile(r"DROP INDEX CONCURRENTLY (\w+)")
_TOKEN: Final = re.compile(
    r"""--[^\n]* | '(?:[^']|'')*' | "[^"]*" | (\$\w*\$).*?\1 | ; | [^-'";$]+ | .""",
    re.DOTALL | re.VERBOSE,
)
_AFTER: Final = re.compile(r"-- (?:concurrently, )?after (\d+\.\d+\.\d+)\b")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema, with the SQL that takes it and the SQL that takes it back."""

    version: int
    name: str
    up: str
    down: str

    def __str__(self) -> str:
        return step_name(self.version, self.name)

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.up.encode()).hexdigest()

    @property
    def oldest_release(self) -> str | None:
        """The oldest release that can work on a database with this *after* step.

        None: it is a *before* step, which all can.
        """
        match = _AFTER.match(self.up)
        return match[1] if match else None

    @property
    def is_concurrent(self) -> bool:
        """Whether it is taken outside a transaction, beside the work."""
        return _CONCURRENTLY.match(self.up) is not None


PARTITIONS: Final = Migration(
    0,
    "partitions",
    "-- after 0.2.0: those before it delete rows of a partition by their places in another one.\n",
    "",
)
"""Written down while `timers` is in partitions. It has no file: `db partition` takes it."""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What one direction of a concurrent step does; `is_made`: the index is built, not dropped."""

    index: str
    is_made: bool
    sql: str


def index_change(text: str) -> IndexChange:
    """Read one direction of a concurrent step.

    Raises:
        ValueError: it is not one statement that builds or drops an index concurrently.
    """
    sql = _COMMENT.sub("", text).strip().removesuffix(";").rstrip()
    if match := _MAKES.fullmatch(sql) or _DROPS.fullmatch(sql):
        return IndexChange(match[1], is_made=sql.startswith("CREATE"), sql=sql)
    raise ValueError(
        "a concurrent step is one CREATE [UNIQUE] INDEX CONCURRENTLY name ON … or one DROP INDEX"
        f" CONCURRENTLY name, without IF, and not {sql!r}"
    )


def commands_of(text: str) -> Sequence[str]:
    """Divide a file into its commands, without what is told beside them.

    Each is sent by itself, as Citus wants those that change tables.
    """
    commands = [""]
    for match in _TOKEN.finditer(text):
        if match[0] == ";":
            commands.append("")
        elif not match[0].startswith("--"):
            commands[-1] += match[0]
    return [command.strip() for command in commands if command.strip()]


def step_name(version: int, name: str) -> str:
    return f"{version:04} {name}"


def load_migrations(folder: Traversable | None = None) -> Sequence[Migration]:
    """Read the numbered files of `schema/`, lowest first.

    Raises:
        ValueError: a concurrent step is more than one change of an index.
    """
    folder = folder or _schema_folder()
    names = sorted(file.name for file in folder.iterdir())
    matches = (_UP_FILE.fullmatch(name) for name in names)
    return [_read(folder, match) for match in matches if match]


def _schema_folder() -> Traversable:
    packaged = resources.files("timer_trio") / "schema"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "schema"


def _read(folder: Traversable, match: re.Match[str]) -> Migration:
    stem = match[0].removesuffix(".up.sql")
    migration = Migration(
        version=int(match[1]),
        name=match[2],
        up=folder.joinpath(f"{stem}.up.sql").read_text("utf-8"),
        down=folder.joinpath(f"{stem}.down.sql").read_text("utf-8"),
    )
    if migration.is_concurrent:
        index_change(migration.up)
        index_change(migration.down)
    return migration
