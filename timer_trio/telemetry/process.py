"""What runs: the process and how its Python was built."""

from __future__ import annotations

import platform
import sysconfig
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from timer_trio import __version__

_BUILT_WITH: Final = {"--enable-optimizations": "pgo", "--with-lto": "lto"}


def add_process(registry: CollectorRegistry) -> None:
    """Have a registry show this process, as far as the system tells of it."""
    ProcessCollector(registry=registry)
    built = Gauge(
        "timer_trio_build_info",
        "Which release runs, on which Python, and how that was built; always 1",
        ["version", "python", "implementation", "compiler", "optimized"],
        registry=registry,
    )
    built.labels(
        __version__,
        platform.python_version(),
        platform.python_implementation(),
        platform.python_compiler(),
        optimisations(str(sysconfig.get_config_var("CONFIG_ARGS") or "")),
    ).set(1)


def optimisations(arguments: str) -> str:
    """Tell which optimisations such arguments of Python's `configure` ask for.

    A distribution may have other means: Debian's own Python has both, and does not say so.
    """
    asked = [words for argument, words in _BUILT_WITH.items() if argument in arguments]
    return "+".join(asked) or "none"
