"""The file `.env` of the current folder, which may be somebody else's."""

from __future__ import annotations

import io
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dotenv.parser import Binding, parse_stream

from timer_trio.config import PREFIX, SettingsError

_PREFIX: Final = PREFIX.encode()


@dataclass(frozen=True, slots=True)
class EnvFile:
    """What the file sets; `is_foreign`: it sets something, and none of it is for us."""

    values: Mapping[str, str] = field(default_factory=dict)
    is_foreign: bool = False


class EnvFileError(SettingsError):
    """The file is ours and cannot be read; the text says where, and shows no value."""


def read_env_file(path: Path) -> EnvFile:
    """Read a file of variables if it names one that begins with TIMER_TRIO_; else leave it alone.

    Raises:
        EnvFileError: it is ours and cannot be read, or nobody can tell whose it is.
    """
    try:
        # A folder may have the name as well, and a pipe be there for a keeper of secrets.
        if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISFIFO(mode)):
            return EnvFile()
        content = path.read_bytes()
    except FileNotFoundError:
        return EnvFile()
    except OSError as error:
        raise EnvFileError(f"{path} cannot be read: {error.strerror}") from None
    if _PREFIX not in content:
        return EnvFile(is_foreign=bool(content.strip()))
    return _read(path, content)


def _read(path: Path, content: bytes) -> EnvFile:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EnvFileError(f"{path} cannot be read: line {line} is not UTF-8") from None
    bindings = list(parse_stream(io.StringIO(text)))
    values = {each.key: each.value for each in bindings if each.key and each.value is not None}
    broken = [each for each in bindings if each.error]
    if not any(name.startswith(PREFIX) for name in values) and not any(map(_is_ours, broken)):
        return EnvFile(is_foreign=True)
    if broken:
        lines = ", ".join(str(_line_of(each)) for each in broken)
        raise EnvFileError(
            f"{path} cannot be read: each line must be NAME=value, a comment or blank, and a quote "
            f"must end; look at line {lines}"
        )
    return EnvFile(values)


def _is_ours(broken: Binding) -> bool:
    return broken.original.string.lstrip().removeprefix("export ").lstrip().startswith(PREFIX)


def _line_of(broken: Binding) -> int:
    # What could not be read begins with the blank lines before it.
    text = broken.original.string
    return broken.original.line + text[: len(text) - len(text.lstrip())].count("\n")
