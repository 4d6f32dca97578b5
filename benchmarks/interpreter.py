"""Which Python runs the benchmarks, and whether it was built to be fast."""

from __future__ import annotations

import platform
import sysconfig
from typing import Final

_ARGUMENTS: Final = {
    "profile-guided optimisation": "--enable-optimizations",
    "LTO": "--with-lto",
}


def optimisations(arguments: str) -> dict[str, bool]:
    """Tell which optimisations such arguments of `configure` ask for.

    A distribution may have other means: Debian's own Python has both, and does not say so.
    """
    return {name: argument in arguments for name, argument in _ARGUMENTS.items()}


def configured() -> dict[str, bool]:
    """Tell which optimisations this Python was configured with."""
    return optimisations(str(sysconfig.get_config_var("CONFIG_ARGS") or ""))


def described() -> str:
    """Spell it as a line above the table."""
    built = ", ".join(
        f"with{'' if is_asked else 'out'} {name}" for name, is_asked in configured().items()
    )
    return f"{platform.python_implementation()} {platform.python_version()}, configured {built}"
