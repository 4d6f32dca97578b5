"""What the guides hand over as files: to a cluster, to systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from tests.debian import program
from timer_trio.config import FILE, PREFIX, SECRETS, Settings, environment_name, load_settings

PROJECT: Final = Path(__file__).parents[2]
GUIDES: Final = PROJECT / "docs" / "guides"
MANIFESTS: Final = sorted((GUIDES / "kubernetes").glob("*.yaml"))
UNIT: Final = GUIDES / "systemd" / "timer-trio.service"
KUBERNETES: Final = ("1.30", "1.36")
"""The oldest whose pods can sleep before they stop, and a late one."""
_HANDS_OVER_S: Final = 3.5


def manifest(name: str) -> Any:
    return yaml.safe_load((GUIDES / "kubernetes" / f"{name}.yaml").read_text())


def pod() -> Any:
    return manifest("deployment")["spec"]["template"]["spec"]


def container() -> Any:
    (only,) = pod()["containers"]
    return only


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_is_what_kubernetes_takes(path: Path, version: str) -> None:
    written = yaml.safe_load(path.read_text())
    if written["kind"] != "Kustomization":  # which is kubectl's, and no resource
        kubernetes_validate.validate(written, version, strict=True)


def test_what_kubernetes_does_not_take_is_found() -> None:
    wrong = manifest("deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["prot"] = "http"
    with pytest.raises(kubernetes_validate.ValidationError, match="prot"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


def test_kustomization_names_all_manifests() -> None:
    named = {*manifest("kustomization")["resources"], "kustomization.yaml"}
    assert named == {path.name for path in MANIFESTS}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed here")
def test_kubectl_puts_the_manifests_together() -> None:
    command = ["kubectl", "kustomize", str(GUIDES / "kubernetes")]
    built = subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603
    kinds = {each["kind"] for each in yaml.safe_load_all(built.stdout)}
    assert kinds == {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}


def test_all_manifests_speak_of_the_same_pods() -> None:
    labels = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"] == labels
    (port,) = manifest("service")["spec"]["ports"]
    assert port["targetPort"] == container()["ports"][0]["name"]


def test_somebody_is_left_while_a_node_is_drained() -> None:
    budget = manifest("poddisruptionbudget")["spec"]["maxUnavailable"]
    assert manifest("deployment")["spec"]["replicas"] > budget


def test_pod_has_as_long_to_stop_as_the_service_may_take() -> None:
    grace_s = load_settings({}).shutdown_grace_s
    waits_s = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod()["terminationGracePeriodSeconds"] > waits_s + _HANDS_OVER_S + grace_s
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(stop_s) > _HANDS_OVER_S + grace_s


def test_probes_ask_what_they_mean() -> None:
    asked = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in PROBES}
    assert {kind: probe["path"] for kind, probe in asked.items()} == PROBES
    assert all(probe["port"] == "http" for probe in asked.values())


PROBES: Final = {
    "startup": "/health/live",
    "liveness": "/health/live",
    "readiness": "/health/ready",
}


def test_container_runs_as_the_user_of_its_image_and_writes_nowhere() -> None:
    (user,) = re.findall(r"^USER (\d+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert pod()["securityContext"]["runAsUser"] == int(user)
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("of", ["kubernetes", "systemd"])
def test_settings_are_ours_and_secrets_come_by_file(of: str) -> None:
    if of == "kubernetes":
        named = [each["name"] for each in container()["env"]]
    else:
        named = re.findall(r"^Environment=([A-Z_]+)=", UNIT.read_text(), re.MULTILINE)
    known = {environment_name(field) for field in Settings.model_fields} - {*SECRETS}
    by_file = {secret + FILE for secret in SECRETS}
    assert {name.removeprefix(PREFIX) for name in named} <= known | by_file
    assert all(name.startswith(PREFIX) for name in named)
    assert {f"{PREFIX}API_KEY_FILE", f"{PREFIX}DATABASE_URL_FILE"} <= {*named}


def test_systemd_knows_all_that_the_unit_says(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/timer-trio/bin/timer-trio", "/bin/true"))
    verified = subprocess.run(  # noqa: S603 - what was found
        [analyze, "verify", "--man=no", str(unit)], check=False, capture_output=True, timeout=60
    )
    assert (verified.returncode, verified.stderr.decode()) == (0, "")


def test_unit_shuts_the_service_in() -> None:
    analyze = program("systemd-analyze")
    command = [analyze, "security", "--offline=yes", "--threshold=20", str(UNIT)]
    judged = subprocess.run(command, check=False, capture_output=True, timeout=60)  # noqa: S603
    assert judged.returncode == 0, judged.stdout.decode()[-500:]
