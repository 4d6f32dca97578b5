"""The first lines that somebody sees who starts the service with its own database."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Final

_WORDS: Final = """
timer-trio listens on {url}   docs: {url}/docs
{console}its database and key are in {data_dir}
API key: {told_key}
"""

_FIRST_CALLBACK: Final = """\
Callbacks may reach this machine (127.0.0.1), which is for development.

Run `{command} listen` in another terminal, then paste:

curl {url}/timers -H "X-API-Key: {api_key}" -H "Content-Type: application/json" -d '{{"delay": 5, \
"callback_url": "http://127.0.0.1:9000/", "callback_payload": "hello"}}'
"""

_NOT_HERE: Final = """\
Callbacks may not reach this machine. To try one here start with `{command} serve --dev`, or add \
127.0.0.1 to CALLBACK_ALLOW.
"""


def welcome(
    *,
    url: str,
    data_dir: Path,
    api_key: str | None,
    called_as: str,
    may_call_here: bool,
    has_console: bool,
) -> str:
    """Write where the service listens and how to see a first callback.

    `api_key` is shown as it is; None: the words name the file that keeps it. `called_as` is the
    program's first argument, so that the words name the command as it is here.
    """
    is_command = Path(called_as).name == "timer-trio"
    command = called_as if is_command else f"{sys.executable} -m timer_trio"
    words = _WORDS + (_FIRST_CALLBACK if may_call_here else _NOT_HERE)
    key_file = data_dir / "api_key"
    return words.format(
        url=url,
        console=f"console: {url}/console\n" if has_console else "",
        data_dir=data_dir,
        told_key=api_key or f"see {key_file}",
        api_key=api_key or f"$(cat {quote(str(key_file))})",
        command=command,
    )
