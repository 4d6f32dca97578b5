from __future__ import annotations

import re
from pathlib import Path

import pytest

from timer_trio.config import PREFIX, Settings, environment_name, load_settings
from timer_trio.env_file import read_env_file

PROJECT = Path(__file__).parents[2]
COMPOSE = (PROJECT / "compose.yaml").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))


def example_values() -> dict[str, str]:
    lines = (PROJECT / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", lines, re.MULTILINE))


def test_example_names_every_setting_with_its_default() -> None:
    written = example_values()
    assert written.pop("POSTGRES_PASSWORD") == ""
    assert all(name.startswith(PREFIX) for name in written)
    assert load_settings(written) == load_settings({})
    values = {name.removeprefix(PREFIX): value for name, value in written.items()}
    assert values.keys() == {environment_name(field) for field in Settings.model_fields}
    unset = {name for name, value in values.items() if not value}
    assert unset == {
        *(
            "API_KEY",
            "CALLBACK_ALLOW",
            "CALLBACK_CA_FILE",
            "DATABASE_URL",
            "DATA_DIR",
            "LISTEN_URL",
            "LOG_FORMAT",
            "MAX_CONNECTIONS_PER_ADDRESS",
            "RETENTION_DAYS",
        ),
    }


def test_example_file_is_read_as_no_change() -> None:
    read = read_env_file(PROJECT / ".env.example")
    assert not read.is_foreign
    assert load_settings({}, read.values) == load_settings({})


def test_compose_waits_longer_than_callbacks_may_take_to_finish() -> None:
    service = COMPOSE[COMPOSE.index("  timer-trio:") :]
    (grace_s,) = re.findall(r"stop_grace_period: (\d+)s", service)
    assert int(grace_s) > load_settings({}).shutdown_grace_s


def test_compose_lets_callbacks_reach_its_own_network() -> None:
    (allowed,) = re.findall(r"CALLBACK_ALLOW:-([\d./]+)", COMPOSE)
    assert f"subnet: {allowed}\n" in COMPOSE
    assert load_settings({"CALLBACK_ALLOW": allowed}).callback_allow


def test_compose_knows_no_secret() -> None:
    assert "API_KEY: ${API_KEY:?" in COMPOSE
    assert "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?" in COMPOSE


def test_signals_reach_the_service_in_its_container() -> None:
    assert 'ENTRYPOINT ["timer-trio"]' in LAST_STAGE
    assert 'CMD ["serve"]' in LAST_STAGE


def test_container_does_not_run_as_root() -> None:
    assert re.search(r"^USER [1-9]\d*$", LAST_STAGE, re.MULTILINE)


def test_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    shown = {line.removeprefix("!").rstrip("/") for line in lines if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {source.rstrip("/") for line in copies for source in line.split()}
    assert lines[0] == "*"
    assert copied == shown
    assert all((PROJECT / source).exists() for source in copied)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_has_a_hash_for_each_package_and_names_no_registry(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert packages
    assert all("--hash=sha256:" in package for package in packages)


def test_container_carries_no_postgresql() -> None:
    assert "pgserver" not in (PROJECT / "requirements" / "runtime.txt").read_text()
    assert "requirements/runtime.txt" in DOCKERFILE
