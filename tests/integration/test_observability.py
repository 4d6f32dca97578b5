"""What docs/observability holds fits to what the service shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from tests.api_under_test import HandClock
from tests.debian import program
from tests.replicas import API_KEY, replica_on
from timer_trio.run.metrics_of_all import MetricsOfAll
from timer_trio.server.connections import Connections
from timer_trio.server.limits import ConnectionLimits
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing.receiver import Receiver

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs/observability.md"
ALERTS: Final = ROOT / "docs/observability/alerts.yml"
DASHBOARD: Final = ROOT / "docs/observability/dashboard.json"
TESTS: Final = Path(__file__).with_name("alerts_test.yml")

OF_PROMETHEUS: Final = {"up": {"instance", "job"}}
OF_A_TARGET: Final = frozenset({"instance", "job"})
_NAME: Final = re.compile(r"\b(?:timer_trio|process)_\w+|\bup\b")
_OF_A_HISTOGRAM: Final = re.compile(r"_(?:bucket|sum|count)$")
_SELECTED: Final = re.compile(r"(\w+)\{([^}]*)\}")
_GROUPED: Final = re.compile(r"\bby \(([^)]*)\)")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@pytest.fixture
async def exported() -> Mapping[str, frozenset[str]]:
    """The labels of each series that a service and the parent of its workers show, by its name."""
    clock = HandClock()
    storage = MemoryStorage(clock.now)
    replica = replica_on(storage, Receiver(clock.now, lambda _: None, lambda _: 200), clock=clock)
    replica.create_app(API_KEY)
    Connections(ConnectionLimits(max_connections=1, max_connections_per_address=1), replica.metrics)
    replica.metrics.schedules.labels("broken").set(0)
    shown = (replica.metrics.registry, MetricsOfAll(2)._registry)
    return {
        sample.name: frozenset(sample.labels)
        for registry in shown
        for family in registry.collect()
        for sample in family.samples
    }


def expressions(document: Any) -> Iterator[str]:
    """All that is asked of Prometheus in a dashboard or a file of rules."""
    if isinstance(document, list):
        for each in document:
            yield from expressions(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key == "expr":
                yield value
            else:
                yield from expressions(value)


def asked() -> Iterator[str]:
    yield from expressions(json.loads(DASHBOARD.read_text()))
    yield from expressions(read_yaml(ALERTS))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules() -> list[dict[str, Any]]:
    (group,) = read_yaml(ALERTS)["groups"]
    return list(group["rules"])


async def test_dashboard_and_alerts_ask_for_what_is_exported(
    exported: Mapping[str, frozenset[str]],
) -> None:
    known = {**exported, **OF_PROMETHEUS}
    found = {name for words in asked() for name in _NAME.findall(words)}
    assert len(found) > 50
    assert found - known.keys() == set()


async def test_dashboard_and_alerts_name_labels_that_are_there(
    exported: Mapping[str, frozenset[str]],
) -> None:
    known = {name: {*labels, *OF_A_TARGET} for name, labels in exported.items()} | OF_PROMETHEUS
    for words in asked():
        for name, selector in _SELECTED.findall(words):
            assert {*_LABEL.findall(selector)} <= known[name], words
        labels = [known[name] for name in _NAME.findall(words)]
        for grouped in _GROUPED.findall(words):
            assert any({*grouped.replace(" ", "").split(",")} <= each for each in labels), words


async def test_docs_list_each_metric_and_no_other(exported: Mapping[str, frozenset[str]]) -> None:
    tables = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    first_cells = [cell for line in tables for cell in line.split("|")[1:3]]
    listed = {name for cell in first_cells for name in _NAME.findall(cell)}
    assert listed == families(exported, exported)


def families(names: Iterable[str], exported: Iterable[str]) -> set[str]:
    """The names of histograms for those of their series, and all others as they are."""
    histograms = {name.removesuffix("_bucket") for name in exported if name.endswith("_bucket")}
    bare = {name: _OF_A_HISTOGRAM.sub("", name) for name in names}
    return {family if family in histograms else name for name, family in bare.items()}


async def test_dashboard_shows_each_metric(exported: Mapping[str, frozenset[str]]) -> None:
    shown = {name for words in asked() for name in _NAME.findall(words)}
    unseen = families(exported, exported) - families(shown, exported)
    assert unseen == {"process_virtual_memory_bytes"}


def test_each_alert_leads_to_what_to_do() -> None:
    headings = {line.removeprefix("### ") for line in DOCS.read_text().splitlines()}
    assert len(rules()) == 12
    for rule in rules():
        assert rule["alert"] in headings
        assert rule["annotations"]["runbook"] == f"docs/{DOCS.name}#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_each_alert_has_a_test() -> None:
    tested = [
        case["alertname"]
        for group in read_yaml(TESTS)["tests"]
        for case in group["alert_rule_test"]
        if case["exp_alerts"]
    ]
    assert {*tested} == {rule["alert"] for rule in rules()}


def promtool(*words: str, folder: Path) -> tuple[int, str]:
    """Answer with its exit code, and with what it has said."""
    done = subprocess.run(  # noqa: S603 - our own words
        [program("promtool"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_alerts_are_raised_when_they_should_be() -> None:
    code, said = promtool("test", "rules", TESTS.name, folder=TESTS.parent)
    assert code == 0, said


def test_prometheus_can_read_what_the_dashboard_asks_for(tmp_path: Path) -> None:
    values = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
    found = [*expressions(json.loads(DASHBOARD.read_text()))]
    for name, value in values.items():
        found = [words.replace(name, value) for words in found]
    records = [{"record": f"panel:{number}", "expr": words} for number, words in enumerate(found)]
    rules_file = tmp_path / "rules.yml"
    rules_file.write_text(json.dumps({"groups": [{"name": "panels", "rules": records}]}))
    code, said = promtool("check", "rules", str(rules_file), folder=tmp_path)
    assert code == 0, said
