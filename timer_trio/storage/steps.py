"""The steps of the schema: the numbered files of `schema/`."""

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


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema, with the SQL that takes it and the SQL that takes it back."""

    version: int
    name: str
    up: str
    down: str

    def __str__(self) -> str:
        return f"{self.version:04} {self.name}"

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.up.encode()).hexdigest()


def load_migrations(folder: Traversable | None = None) -> Sequence[Migration]:
    """Read the numbered files of `schema/`, lowest first."""
    folder = folder or _schema_folder()
    names = sorted(file.name for file in folder.iterdir())
    matches = (_UP_FILE.fullmatch(name) for name in names)
    return [_read(folder, match) for match in matches if match]


def _schema_folder() -> Traversable:
    packaged = resources.files("timer_trio") / "schema"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schema"


def _read(folder: Traversable, match: re.Match[str]) -> Migration:
    stem = match[0].removesuffix(".up.sql")
    return Migration(
        version=int(match[1]),
        name=match[2],
        up=folder.joinpath(f"{stem}.up.sql").read_text("utf-8"),
        down=folder.joinpath(f"{stem}.down.sql").read_text("utf-8"),
    )
