"""What is shown, in Prometheus' words, put together bit by bit: callbacks go between.

A snapshot is what one process shows, and is sent as JSON to the process that adds several up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

SLICE: Final = 200
"""Samples that are spelled in one go: a millisecond."""


class OthersSilentError(Exception):
    """Other processes belong to what is to be shown, and do not tell."""


async def exposed(families: Iterable[Metric]) -> bytes:
    """Spell families of metrics."""
    parts: list[bytes] = []
    for family in families:
        for start in range(0, max(1, len(family.samples)), SLICE):
            text = generate_latest(_Slice(family, start))
            parts.append(text if start == 0 else text.split(b"\n", 2)[2])  # without HELP and TYPE
            await trio.lowlevel.checkpoint()
    return b"".join(parts)


class _Slice(Collector):
    def __init__(self, family: Metric, start: int) -> None:
        self._slice = _empty(family)
        self._slice.samples = family.samples[start : start + SLICE]

    def collect(self) -> Iterator[Metric]:
        yield self._slice


async def snapshot(registry: CollectorRegistry) -> bytes:
    """Tell in one line what a registry shows."""
    families: list[str] = []
    for family in registry.collect():
        samples: list[str] = []
        for start in range(0, len(family.samples), SLICE):
            some = family.samples[start : start + SLICE]
            samples.append(json.dumps([[each.name, each.labels, each.value] for each in some]))
            await trio.lowlevel.checkpoint()
        inner = ", ".join(part[1:-1] for part in samples)
        head = json.dumps([family.name, family.documentation, family.type])
        families.append(f"[{head}, [{inner}]]")
    return f"[{', '.join(families)}]".encode()


def read_snapshot(line: bytes) -> Sequence[Metric]:
    """Return what `snapshot` has told."""
    return [*map(_family, json.loads(line))]


def _family(
    told: tuple[tuple[str, str, str], Iterable[tuple[str, dict[str, str], float]]],
) -> Metric:
    (name, words, kind), samples = told
    family = Metric(name, words, kind)
    for sample in samples:
        family.add_sample(*sample)
    return family


def _empty(family: Metric) -> Metric:
    return Metric(family.name, family.documentation, family.type)
