"""The steps of the schema: the numbered files of `schema/`.

A *before* step only adds: replicas of older releases go on beside it. An *after* step is what they
cannot live with. Its file begins with `-- after 0.3.0`, the oldest release that can.
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
_AFTER: Final = re.compile(r"-- after (\d+\.\d+\.\d+)\b")


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


def step_name(version: int, name: str) -> str:
    return f"{version:04} {name}"


def load_migrations(folder: Traversable | None = None) -> Sequence[Migration]:
    """Read the numbered files of `schema/`, lowest first."""
    folder = folder or _schema_folder()
    names = sorted(file.name for file in folder.iterdir())
    matches = (_UP_FILE.fullmatch(name) for name in names)
    return [_read(folder, match) for match in matches if match]


def _schema_folder() -> Traversable:
    packaged = resources.files("timer_trio") / "schema"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "schema"


def _read(folder: Traversable, match: re.Match[str]) -> Migration:
    stem = match[0].removesuffix(".up.sql")
    return Migration(
        version=int(match[1]),
        name=match[2],
        up=folder.joinpath(f"{stem}.up.sql").read_text("utf-8"),
        down=folder.joinpath(f"{stem}.down.sql").read_text("utf-8"),
    )
