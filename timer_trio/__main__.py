"""The command, or what to install where only the client is."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from timer_trio.cli import main as run_command  # noqa: PLC0415 - it may not be there
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "timer_trio":
            raise
        sys.stderr.write(
            f"Error: this command needs what the service needs, and {error.name} is not installed: "
            "pip install 'timer-trio[server]'\n"
        )
        sys.exit(2)
    run_command()


if __name__ == "__main__":
    main()
