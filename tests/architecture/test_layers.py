"""Who may import whom, and how services are laid out: what the design promises a newcomer."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import MODULES

ROOT = Path(__file__).parents[2]
OUTER = {"__init__", "__main__", "app", "config", "convert", "metrics", "servicer", "validation"}
EDGES = {
    "cache": {"answers"},  # entries leave in the bytes they are kept in, keys come out of bytes
    "optimizer": {"requests", "batches"},  # one request out of the contract's messages; a batch of them
    # calls to the other three, through their contracts; how a replica stands, as a message
    "processor": {"neighbours", "capacity_message"},
    "tracker": {"reading"},  # reports out of the contract's messages
}
"""What else may know messages and transport, for each service, and why."""

TRANSPORT = (
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "google",
    "contentfactory",
    "opentelemetry",
    "prometheus_client",
)
SAME_IN_ALL = {"__main__.py", "app.py", "config.py", "convert.py", "metrics.py", "servicer.py", "py.typed"}
MOST_LINES = 400
MOST_MAIN_LINES = 20


def package(service: str) -> Path:
    """Return the folder of a service's package."""
    return ROOT / "services" / service / MODULES[service]


def imported(path: Path) -> Iterator[str]:
    """Yield every module a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_import_contracts_hold() -> None:
    """Services never import each other; the library knows no contract; storage knows no transport."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", MODULES)
def test_the_domain_knows_no_transport(service: str) -> None:
    """Messages, gRPC, tracing and metrics stay at the edges, which are named here."""
    folder = package(service)
    guilty = [
        f"{path.relative_to(folder)} imports {name}"
        for path in sorted(folder.rglob("*.py"))
        if path.relative_to(folder).parts[0].removesuffix(".py") not in OUTER | EDGES[service]
        for name in imported(path)
        if name.split(".")[0] in TRANSPORT
    ]
    assert guilty == []


@pytest.mark.parametrize("service", MODULES)
def test_the_edges_are_as_few_as_named(service: str) -> None:
    """An edge that no longer touches a message loses its exception."""
    for edge in EDGES[service]:
        place = package(service) / edge
        paths = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        assert any(name.split(".")[0] in TRANSPORT for path in paths for name in imported(path)), edge


@pytest.mark.parametrize("service", MODULES)
def test_services_have_the_same_outer_files(service: str) -> None:
    """Who knows one service knows where things are in all."""
    folder = package(service)
    assert SAME_IN_ALL - {each.name for each in folder.iterdir()} == set()
    assert (folder / "repository.py").exists() or (folder / "repository").is_dir()
    for name in ("README.md", "Dockerfile", "pyproject.toml"):
        assert (ROOT / "services" / service / name).exists(), name


@pytest.mark.parametrize("service", MODULES)
def test_the_entry_point_is_short(service: str) -> None:
    """`__main__` parses, runs and returns an exit code."""
    lines = (package(service) / "__main__.py").read_text("utf-8").splitlines()
    assert len(lines) <= MOST_MAIN_LINES


def sources() -> Iterator[Path]:
    """Yield every module that is written here."""
    for folder in ("services", "cli", "tests", "benchmarks", "tools", "iac"):
        for path in (ROOT / folder).rglob("*.py"):
            if not {"build", "node_modules"} & set(path.parts):
                yield path
    yield ROOT / "protos" / "generate.py"


def test_no_module_is_too_long() -> None:
    """A file that needs scrolling for minutes holds more than one noun."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_every_module_is_named_for_something() -> None:
    """There is no drawer for everything."""
    drawers = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}
    assert [str(path) for path in sources() if path.name in drawers] == []


def test_every_module_says_what_it_promises() -> None:
    """Each file opens with a docstring."""
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert silent == []
