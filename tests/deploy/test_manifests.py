"""The rendered Kubernetes manifests fit the code: ports, names, variables, images, probes and rights."""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from service_common.config import CommonSettings, load, variables
from service_common.storage import is_hosted

from tests.contract.contracts import SERVICES, service_descriptor
from tests.support.processes import MODULES
from tests.support.real_parts import program

ROOT = Path(__file__).parents[2]
DEV, PRODUCTION = "overlays/dev", "overlays/production"
RENDERED = [DEV, PRODUCTION, *(f"base/{service}" for service in SERVICES)]
CLOSING_MARGIN_S = 20
Manifest = dict[str, Any]


@cache
def render(target: str) -> tuple[Manifest, ...]:
    """Render a folder below k8s/ as kubectl does."""
    kubectl = program("kubectl", "it renders the manifests; install the Kubernetes command line")
    done = subprocess.run(
        [kubectl, "kustomize", str(ROOT / "k8s" / target)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    """Return the one manifest of a kind whose name is, or begins with, this."""
    (found,) = (
        each
        for each in manifests
        if each["kind"] == kind
        and (each["metadata"]["name"] == name or each["metadata"]["name"].startswith(f"{name}-env"))
    )
    return found


def pod(service: str, target: str = DEV) -> Manifest:
    """Return the specification of a service's pod."""
    spec: Manifest = one(render(target), "StatefulSet", service)["spec"]["template"]["spec"]
    return spec


def container(service: str, target: str = DEV) -> Manifest:
    """Return a service's one container."""
    (only,) = pod(service, target)["containers"]
    found: Manifest = only
    return found


def environment(service: str, target: str) -> dict[str, str]:
    """Return the variables of a service's config map."""
    data: dict[str, str] = one(render(target), "ConfigMap", service)["data"]
    return data


def settings_class(service: str) -> type[CommonSettings]:
    """Return what a service reads from its environment."""
    module = import_module(f"{MODULES[service]}.config")
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, CommonSettings) and each is not CommonSettings
    )
    return found


def targets(service: str) -> list[str]:
    """Return the renderings a service is part of."""
    return [DEV, PRODUCTION, f"base/{service}"]


@pytest.mark.parametrize("target", RENDERED)
def test_every_rendering_is_complete(target: str) -> None:
    """What a manifest refers to is there: config maps, accounts, selectors, and one namespace."""
    manifests = render(target)
    for each in manifests:
        if each["kind"] == "StatefulSet":
            name = each["metadata"]["name"]
            spec = each["spec"]["template"]["spec"]
            maps = [source["configMapRef"]["name"] for source in spec["containers"][0]["envFrom"]]
            assert maps == [one(manifests, "ConfigMap", name)["metadata"]["name"]]
            assert one(manifests, "ServiceAccount", spec["serviceAccountName"])
            assert one(manifests, "Service", each["spec"]["serviceName"])
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()
    if target.startswith("overlays"):
        (namespace,) = (each for each in manifests if each["kind"] == "Namespace")
        named = {each["metadata"].get("namespace") for each in manifests if each["kind"] != "Namespace"}
        assert named == {namespace["metadata"]["name"]}
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("service", SERVICES)
def test_variables_are_the_codes_and_start_it(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable set is one the service reads, and the settings load with them."""
    known = {each.name for each in variables(settings_class(service))}
    for target in targets(service):
        values = environment(service, target)
        assert values.keys() <= known
        for each in container(service, target).get("env", ()):
            assert each["name"] in known
    loaded = load(settings_class(service), environment(service, DEV))
    assert loaded.exposed_unprotected
    assert loaded.insecure, "the dev overlay says that it is unprotected"
    monkeypatch.setattr("service_common.config._file_problems", lambda _: ())
    for target in (f"base/{service}", PRODUCTION):
        protected = environment(service, target)
        assert "INSECURE" not in protected
        assert not load(settings_class(service), protected).exposed_unprotected


@pytest.mark.parametrize("service", SERVICES)
def test_files_lie_where_volumes_are_mounted(service: str) -> None:
    """Every path a variable names is below a mount, and everything mounted has a volume."""
    for target in targets(service):
        mounts = {each["mountPath"] for each in container(service, target)["volumeMounts"]}
        values = environment(service, target)
        paths = [value for name, value in values.items() if name.endswith("_FILE") and value]
        if values["STORE_URL"].startswith("sqlite"):
            paths.append(values["STORE_URL"].removeprefix("sqlite:///"))
        for path in paths:
            assert str(Path(path).parent) in mounts, path
        statefulset = one(render(target), "StatefulSet", service)["spec"]
        volumes = {each["name"] for each in pod(service, target)["volumes"]}
        claims = {each["metadata"]["name"] for each in statefulset.get("volumeClaimTemplates", ())}
        assert {each["name"] for each in container(service, target)["volumeMounts"]} == volumes | claims


@pytest.mark.parametrize("service", SERVICES)
def test_ports_agree_everywhere(service: str) -> None:
    """The code's defaults, the variables, the container, the service and the policies name the same ports."""
    defaults = settings_class(service).model_fields
    values = environment(service, DEV)
    ports = {each["name"]: each["containerPort"] for each in container(service)["ports"]}
    assert ports["grpc"] == int(values["PORT"]) == defaults["port"].default
    assert ports["metrics"] == int(values["METRICS_PORT"]) == defaults["metrics_port"].default
    assert ports["health"] == int(values["HEALTH_PORT"])
    spec = one(render(DEV), "Service", service)["spec"]
    assert {each["name"]: each["port"] for each in spec["ports"]} == {
        "grpc": ports["grpc"],
        "metrics": ports["metrics"],
    }
    assert spec["clusterIP"] == "None"
    assert spec["selector"].items() <= {"app.kubernetes.io/name": service}.items()


def test_the_processor_knows_its_neighbours_by_their_services() -> None:
    """Each target is a headless service of this overlay, at its port."""
    values = environment("processor", DEV)
    for service in ("cache", "optimizer", "tracker"):
        port = environment(service, DEV)["PORT"]
        assert values[f"{service.upper()}_TARGETS"] == f"dns:///{service}:{port}"


@pytest.mark.parametrize("service", SERVICES)
def test_probes_ask_grpc_health_by_name(service: str) -> None:
    """Start and readiness ask for the service, liveness for the server; all on the plaintext health port."""
    only = container(service)
    health = int(environment(service, DEV)["HEALTH_PORT"])
    full_name = service_descriptor(service).full_name
    assert only["startupProbe"]["grpc"] == {"port": health, "service": full_name}
    assert only["readinessProbe"]["grpc"] == {"port": health, "service": full_name}
    assert only["livenessProbe"]["grpc"] == {"port": health}


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_has_the_time_to_drain(service: str) -> None:
    """Kubernetes waits longer than the pre-stop sleep, the drain and the closing take together."""
    (command, seconds) = container(service)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    needed = int(seconds) + float(environment(service, DEV)["DRAIN_GRACE_S"]) + CLOSING_MARGIN_S
    assert pod(service)["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("target", [DEV, PRODUCTION, "base"])
@pytest.mark.parametrize("service", SERVICES)
def test_pods_may_do_nothing_they_need_not(service: str, target: str) -> None:
    """Restricted Pod Security: no root, no privileges, a read-only root, no token, bounded memory."""
    target = target if target != "base" else f"base/{service}"
    spec, only = pod(service, target), container(service, target)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= only["resources"]["requests"].keys()
    assert "memory" in only["resources"]["limits"]
    assert {kind for each in spec["volumes"] for kind in each if kind != "name"} <= {"emptyDir", "secret"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_store_in_a_file_has_one_replica_with_a_volume_of_its_own(service: str) -> None:
    """SQLite's file cannot be shared between pods."""
    spec = one(render(DEV), "StatefulSet", service)["spec"]
    assert environment(service, DEV)["STORE_URL"].startswith("sqlite:////")
    assert spec["replicas"] == 1
    assert [each["spec"]["accessModes"] for each in spec["volumeClaimTemplates"]] == [["ReadWriteOnce"]]


@pytest.mark.parametrize("service", SERVICES)
def test_pods_on_firestore_share_a_store_as_an_account_of_their_own(service: str) -> None:
    """Production: one database for all, no volume, more than one replica, and the account Terraform makes."""
    spec = one(render(PRODUCTION), "StatefulSet", service)["spec"]
    assert is_hosted(environment(service, PRODUCTION)["STORE_URL"])
    assert environment(service, PRODUCTION)["STORE_URL"] == environment("cache", PRODUCTION)["STORE_URL"]
    assert spec["replicas"] > 1
    assert "volumeClaimTemplates" not in spec
    (account,) = (
        each
        for each in render(PRODUCTION)
        if each["kind"] == "ServiceAccount" and each["metadata"]["name"] == service
    )
    email = account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"]
    assert email.startswith(f"contentfactory-{service}@")


def test_pods_on_firestore_reach_google_and_their_credentials_and_no_more() -> None:
    """Port 443 outside private networks, and of the metadata server what Workload Identity needs."""
    (policy,) = (
        each["spec"] for each in render(PRODUCTION) if each["metadata"]["name"] == "firestore-egress"
    )
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/part-of": "contentfactory"}}
    allowed = {
        (rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]): rule["to"][0]["ipBlock"].get("except")
        for rule in policy["egress"]
    }
    assert allowed.keys() == {
        ("0.0.0.0/0", 443),
        ("169.254.169.252/32", 988),
        ("169.254.169.254/32", 80),
    }
    assert "169.254.0.0/16" in allowed["0.0.0.0/0", 443]


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_the_ones_built_here(service: str) -> None:
    """The image is named as `make images` names it, and the user is the Dockerfile's."""
    assert container(service)["image"] == f"contentfactory/{service}:dev"
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
    user = pod(service)["securityContext"]["runAsUser"]
    assert f"USER {user}:{pod(service)['securityContext']['runAsGroup']}" in dockerfile


def test_network_policies_deny_what_nobody_needs() -> None:
    """Everything is denied by default; metadata servers are out of the processor's reach; ports exist."""
    policies = {
        each["metadata"]["name"]: each["spec"] for each in render(DEV) if each["kind"] == "NetworkPolicy"
    }
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    blocks = [
        to["ipBlock"]
        for rule in policies["processor-egress"]["egress"]
        for to in rule["to"]
        if "ipBlock" in to
    ]
    assert all("169.254.0.0/16" in block["except"] for block in blocks)
    for service in SERVICES:
        assert policies[service]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": service}
        ports = {port["port"] for rule in policies[service]["ingress"] for port in rule["ports"]}
        assert ports == {"grpc", "metrics"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_disruption_budget_lets_a_node_be_drained(service: str) -> None:
    """The budget selects the service's pods and does not forbid to move the only one."""
    spec = one(render(DEV), "PodDisruptionBudget", service)["spec"]
    assert spec == {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": service}}}


@pytest.mark.parametrize("service", SERVICES)
def test_the_projects_version_is_the_images(service: str) -> None:
    """The label of an image built without arguments says the distribution's version."""
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}" in (ROOT / "services" / service / "Dockerfile").read_text()
