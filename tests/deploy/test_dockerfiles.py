"""The Dockerfiles build each service from its part of the lock, alike, and run it without privileges.

No container engine is needed here: `make test-isolated` runs the same installation steps for real.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contract.contracts import SERVICES
from tests.deploy.test_manifests import settings_class

ROOT = Path(__file__).parents[2]


def instructions(service: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions: name and argument, with continued lines joined."""
    text = (ROOT / "services" / service / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    pairs = (line.partition(" ") for line in joined.splitlines())
    return [(name, argument.strip()) for name, _, argument in pairs]


def arguments(service: str, name: str) -> list[str]:
    """Return the arguments of every instruction of a name."""
    return [argument for each, argument in instructions(service) if each == name]


def project(service: str) -> dict[str, dict[str, str]]:
    """Return a service's [project] table."""
    table: dict[str, dict[str, str]] = tomllib.loads(
        (ROOT / "services" / service / "pyproject.toml").read_text()
    )["project"]
    return table


def test_the_four_differ_in_names_and_ports_alone() -> None:
    """What is mended in one is mended in all."""

    def generic(service: str) -> str:
        text = (ROOT / "services" / service / "Dockerfile").read_text()
        (script,) = project(service)["scripts"]
        for port in re.findall(r"^EXPOSE (\d+) (\d+)$", text, flags=re.MULTILINE)[0]:
            text = text.replace(port, "PORT")
        return text.replace(script, "SCRIPT").replace(service, "SERVICE")

    assert len({generic(service) for service in SERVICES}) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_copied_is_there_and_reaches_the_builder(service: str) -> None:
    """Every source of a COPY exists, and .dockerignore lets it through."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [line[1:].strip("/") for line in ignore if line.startswith("!")]
    for copy in arguments(service, "COPY"):
        sources = [each for each in copy.split()[:-1] if not each.startswith("--")]
        if "--from=build" in copy:
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(f"{source}/".startswith(f"{line}/") for line in let_through), source


@pytest.mark.parametrize("service", SERVICES)
def test_everything_installed_is_checked_against_the_lock(service: str) -> None:
    """Each pip installation either verifies hashes or takes no index at all."""
    runs = " && ".join(arguments(service, "RUN")).split("&&")
    installs = [
        each for each in runs if re.search(r"pip .*(install|wheel) ", each) and "uninstall" not in each
    ]
    assert len(installs) == 4
    for each in installs:
        assert "--no-deps" in each
        assert "--require-hashes" in each or "--no-index" in each


@pytest.mark.parametrize("service", SERVICES)
def test_the_image_runs_the_service_without_root(service: str) -> None:
    """The entry point is the distribution's script, the user a number, the ports the code's."""
    (script,) = project(service)["scripts"]
    defaults = settings_class(service).model_fields
    assert arguments(service, "ENTRYPOINT") == [f'["{script}"]']
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", arguments(service, "USER")[-1])
    assert arguments(service, "EXPOSE") == [f"{defaults['port'].default} {defaults['metrics_port'].default}"]
    assert [each.split()[0] for each in arguments(service, "FROM")] == ["python:3.11-slim-bookworm"] * 2


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_part_of_the_lock_is_its_own(service: str) -> None:
    """It has every direct dependency with hashes, and neither tools nor another service's needs."""
    command = [sys.executable, "tools/service_lock.py", "protos", "services/common", f"services/{service}"]
    part = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    names = re.findall(r"^([a-z0-9._-]+)==", part, flags=re.MULTILINE)
    assert {"grpcio", "protobuf", "structlog"} <= set(names)
    assert not {"pytest", "mypy", "ruff", "hatchling", "openai", "typer", "xllamacpp"} & set(names)
    assert ("httptools" in names) is (service == "processor")
    assert part.count("--hash=sha256:") >= len(names)


def test_a_dependency_outside_the_lock_is_refused(tmp_path: Path) -> None:
    """A forgotten `make lock` stops the build by name, instead of installing something unchecked."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["not-in-the-lock>=1"]\n')
    command = [sys.executable, str(ROOT / "tools" / "service_lock.py"), str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not-in-the-lock" in done.stderr
