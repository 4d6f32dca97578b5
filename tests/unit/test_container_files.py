from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
import yaml  # type: ignore[import-untyped]  # it has no types
from compose_spec import PyCompose
from hypercorn.config import Config
from hypercorn.trio import serve

from tests.api_under_test import running_api
from timer_trio.config import PREFIX, Settings, environment_name, load_settings
from timer_trio.env_file import read_env_file

PROJECT = Path(__file__).parents[2]
COMPOSE = (PROJECT / "compose.yaml").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::-(?P<default>[^${}]*)|:\?[^${}]*)?\}")
SECRETS = {"TIMER_TRIO_API_KEY": "k" * 32, "POSTGRES_PASSWORD": "a1", "TIMERS_PASSWORD": "b2"}
LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))


def example_values() -> dict[str, str]:
    lines = (PROJECT / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", lines, re.MULTILINE))


def test_example_names_every_setting_with_its_default() -> None:
    written = example_values()
    assert written.pop("POSTGRES_PASSWORD") == written.pop("TIMERS_PASSWORD") == ""
    assert all(name.startswith(PREFIX) for name in written)
    assert load_settings(written) == load_settings({})
    values = {name.removeprefix(PREFIX): value for name, value in written.items()}
    assert values.keys() == {environment_name(field) for field in Settings.model_fields}
    unset = {name for name, value in values.items() if not value}
    assert unset == {
        *("API_KEY", "CALLBACK_ALLOW", "CALLBACK_CA_FILE", "CELLS", "DATABASE_URL", "DATA_DIR"),
        *("ENCRYPTION_KEYS", "LISTEN_URL", "LOG_FORMAT", "MAX_CONNECTIONS_PER_ADDRESS"),
        *("RETENTION_DAYS", "ROOT_PATH", "SENSITIVE_HEADERS"),
    }


def test_example_file_is_read_as_no_change() -> None:
    read = read_env_file(PROJECT / ".env.example")
    assert not read.is_foreign
    assert load_settings({}, read.values) == load_settings({})


def test_compose_file_is_what_docker_takes() -> None:
    filled = COMPOSE
    while (found := VARIABLE.search(filled)) is not None:  # the innermost first
        filled = filled.replace(found[0], SECRETS.get(found["name"], found["default"] or ""))
    spec = PyCompose.from_yaml(filled)
    spec.validate()
    assert sorted(spec.service_names()) == ["database", "role", "timer-trio"]
    with pytest.raises(ValueError, match="networcs"):
        PyCompose.from_yaml(filled.replace("    networks: [database]", "    networcs: [x]"))


def test_no_container_takes_all_of_the_machine() -> None:
    for name, service in yaml.safe_load(COMPOSE)["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory", "pids"}, name
        kept = service["logging"]["options"]
        assert (kept["max-size"], kept["max-file"]) == ("10m", "5"), name


def test_compose_gives_the_service_no_superuser() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    url = services["timer-trio"]["environment"]["TIMER_TRIO_DATABASE_URL"]
    assert url.startswith("postgresql://timers:${TIMERS_PASSWORD}@")
    assert services["database"]["environment"]["POSTGRES_USER"] != "timers"
    assert "POSTGRES_PASSWORD" not in str(services["timer-trio"])


def test_compose_waits_longer_than_callbacks_may_take_to_finish() -> None:
    service = COMPOSE[COMPOSE.index("  timer-trio:") :]
    (grace_s,) = re.findall(r"stop_grace_period: (\d+)s", service)
    assert int(grace_s) > load_settings({}).shutdown_grace_s


def test_compose_admits_no_network_to_callbacks() -> None:
    assert "TIMER_TRIO_CALLBACK_ALLOW: ${TIMER_TRIO_CALLBACK_ALLOW:-}\n" in COMPOSE
    assert not re.search(r"\d/\d", COMPOSE)


def test_database_of_compose_is_in_a_network_of_its_own() -> None:
    compose = yaml.safe_load(COMPOSE)
    networks = {name: service["networks"] for name, service in compose["services"].items()}
    assert networks == {
        "database": ["database"],
        "role": ["database"],
        "timer-trio": ["default", "database"],
    }
    assert compose["networks"] == {"default": {}, "database": {"internal": True}}


def test_what_compose_sets_wins_over_what_the_file_says() -> None:
    environment = COMPOSE[COMPOSE.index("    environment:\n", COMPOSE.index("  timer-trio:")) :]
    names = re.findall(
        r"^      ([A-Z_]+):", environment[: environment.index("ports:")], re.MULTILINE
    )
    assert {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)} == {
        *("API_KEY", "CALLBACK_ALLOW", "DATABASE_URL", "HOST", "PORT"),
    }
    assert len(names) == 5


def test_compose_knows_no_secret() -> None:
    assert "TIMER_TRIO_API_KEY: ${TIMER_TRIO_API_KEY:-${API_KEY:?" in COMPOSE
    assert "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?" in COMPOSE
    assert "TIMERS_PASSWORD: ${TIMERS_PASSWORD:?" in COMPOSE


@pytest.mark.parametrize("text", [COMPOSE, DOCKERFILE], ids=["compose", "Dockerfile"])
def test_images_are_of_one_version(text: str) -> None:
    images = re.findall(r"^(?:FROM| +image:) (\S+)", text, re.MULTILINE)
    assert images
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]+", image) for image in images)


def health_check() -> list[str]:
    (command,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", LAST_STAGE, re.MULTILINE)
    program, *arguments = json.loads(command)
    assert program == "python"
    return [sys.executable, *arguments]


async def checked(**environ: str) -> int:
    inherited = {"PATH": os.environ["PATH"]}
    done = await trio.run_process(health_check(), env=inherited | environ, check=False)
    return done.returncode


def config_of(port: int) -> Config:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    return config


@pytest.mark.parametrize("is_secured", [False, True])
async def test_health_check_finds_the_service_with_and_without_tls(
    tmp_path: Path, *, is_secured: bool
) -> None:
    config = config_of(0)
    if is_secured:
        certificate = trustme.CA().issue_cert("timers.example")
        config.certfile, config.keyfile = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
        certificate.private_key_pem.write_to_path(config.keyfile)
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(config.certfile, append=True)
    async with running_api() as api, trio.open_nursery() as nursery:
        app: Any = api.app
        (url,) = await nursery.start(serve, app, config)
        port = url.rpartition(":")[2]
        assert await checked(PORT=port) == 0
        assert await checked(TIMER_TRIO_PORT=port, PORT="1") == 0
        assert await checked(TIMER_TRIO_PORT="tcp://10.96.0.7:8080", PORT=port) == 0
        nursery.cancel_scope.cancel()
    assert await checked(PORT=port) == 1


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
