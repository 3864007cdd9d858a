"""The Terraform below iac/ fits itself, the provider's schema, the manifests and its documentation.

Parsed here, so that it needs no terraform; `make iac-check` has terraform itself validate and test it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from tests.contract.contracts import SERVICES
from tests.support.real_parts import program

ROOT = Path(__file__).parents[2]
IAC = ROOT / "iac"
MODULES = sorted(path for path in (IAC / "modules").iterdir() if path.is_dir())
ENVIRONMENTS = sorted(path for path in (IAC / "environments").iterdir() if path.is_dir())
EXAMPLES = sorted((IAC / "modules").glob("*/examples/*"))
FOLDERS = [*MODULES, *ENVIRONMENTS, *EXAMPLES]
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "dynamic"}
PLAIN = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
Block = dict[str, Any]


def name(path: Path) -> str:
    """Return a folder as it is written below iac/."""
    return str(path.relative_to(IAC))


each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=name)
each_module = pytest.mark.parametrize("folder", MODULES, ids=name)
each_environment = pytest.mark.parametrize("folder", ENVIRONMENTS, ids=name)


@cache
def text(folder: Path) -> str:
    """Return a folder's configuration without comments."""
    lines = "\n".join(path.read_text() for path in sorted(folder.glob("*.tf"))).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@cache
def blocks(folder: Path, kind: str) -> dict[str, Block]:
    """Return a folder's blocks of a kind, by their labels joined by dots."""
    return dict(_labelled(hcl2.loads(text(folder) + "\n", serialization_options=PLAIN).get(kind, []), kind))


def _labelled(found: list[Block], kind: str) -> Iterator[tuple[str, Block]]:
    labels = {"resource": 2, "data": 2, "terraform": 0, "locals": 0}.get(kind, 1)
    for block in found:
        path, inner = [], block
        for _ in range(labels):
            ((label, inner),) = inner.items()
            path.append(label.strip('"'))
        yield ".".join(path), inner


def schema(kind: str) -> Block:
    """Return the arguments that the provider gives a kind of resource."""
    known: dict[str, Block] = json.loads((IAC / "standin" / "schema.json").read_text())
    assert kind in known, f"add {kind} to RESOURCES in iac/standin/schema.py and write schema.json anew"
    return known[kind]


def faults(where: str, given: Block, known: Block) -> Iterator[str]:
    """Yield what a resource or block gives that the provider does not take, or lacks that it needs."""
    dynamic = [
        (key.strip('"'), value["content"][0])
        for each in given.get("dynamic", [])
        for key, value in each.items()
    ]
    present = {key for key in given if key not in META} | {key for key, _ in dynamic}
    settable = {key for key, value in known.items() if not value.get("computed")}
    yield from (f"{where} has no argument {key!r}; it takes {sorted(settable)}" for key in present - settable)
    needed = {key for key, value in known.items() if value.get("required")}
    yield from (f"{where} needs {key!r}" for key in needed - present)
    inner = dynamic + [(key, value) for key in present & settable for value in _inner(given.get(key))]
    for key, block in inner:
        if "block" in known.get(key, {}):
            yield from faults(f"{where}.{key}", block, known[key].get("of", {}))
    for key in present & settable:
        value, choices = given.get(key), known[key].get("choices")
        if choices and isinstance(value, str) and "${" not in value and value not in choices:
            yield f"{where}: {key} is {value!r}, but must be one of {choices}"


def _inner(value: Any) -> list[Block]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def test_files_have_terraforms_form() -> None:
    """What `terraform fmt` would write is what is there."""
    terraform = program("terraform", "it checks the form of iac/; install Terraform 1.9 or newer")
    done = subprocess.run(
        [terraform, "fmt", "-check", "-recursive", str(IAC)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `terraform fmt -recursive iac`:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("folder", [*MODULES, *ENVIRONMENTS], ids=name)
def test_a_folder_has_the_usual_files(folder: Path) -> None:
    """Who knows one public module finds their way in ours."""
    expected = {"main.tf", "variables.tf", "outputs.tf", "versions.tf", f"tests/{folder.name}.tftest.hcl"}
    if folder in MODULES:
        expected |= {"README.md", "examples/basic/main.tf"}
    else:
        expected |= {"backend.hcl.example", "terraform.tfvars.example"}
    missing = {each for each in expected if not (folder / each).is_file()}
    assert not missing, f"{name(folder)} lacks {sorted(missing)}"


@each_folder
def test_resources_are_what_the_provider_takes(folder: Path) -> None:
    """Each argument exists, each required one is given, each literal is a documented value."""
    for label, block in blocks(folder, "resource").items():
        found = list(faults(label, block, schema(label.split(".")[0])))
        assert not found, f"{name(folder)}: " + "; ".join(found)


@each_folder
def test_references_lead_somewhere(folder: Path) -> None:
    """What is referred to is declared in the same folder, and every variable is used."""
    source = text(folder)
    resources, modules = set(blocks(folder, "resource")), set(blocks(folder, "module"))
    variables = set(blocks(folder, "variable"))
    local = {key for each in blocks(folder, "locals").values() for key in each}
    used = set(re.findall(r"\bvar\.(\w+)", source))
    validated = re.sub(r'(?ms)^variable ".*?^}', "", source)
    assert used <= variables, f"declare in {name(folder)}/variables.tf: {sorted(used - variables)}"
    assert variables <= set(re.findall(r"\bvar\.(\w+)", validated)), (
        f"{name(folder)}: remove unused variables"
    )
    assert set(re.findall(r"\blocal\.(\w+)", source)) <= local, f"{name(folder)}: a local is not declared"
    assert set(re.findall(r"\bmodule\.(\w+)", source)) <= modules, f"{name(folder)}: a module is not called"
    referred = set(re.findall(r"(?<![\w\"/-])(google_\w+\.\w+)", source))
    assert referred <= resources, f"{name(folder)}: no such resource: {sorted(referred - resources)}"
    for call, output in re.findall(r"\bmodule\.(\w+)(?:\[\*\])?\.(\w+)", source):
        called = (folder / blocks(folder, "module")[call]["source"]).resolve()
        assert output in blocks(called, "output"), f"{name(folder)}: {name(called)} has no output {output!r}"


@pytest.mark.parametrize("folder", [*MODULES, *ENVIRONMENTS], ids=name)
def test_variables_say_what_they_are_and_refuse_nonsense(folder: Path) -> None:
    """Each has type and description; null only by default; a module checks whatever could be wrong."""
    for variable, block in blocks(folder, "variable").items():
        where = f"{name(folder)}: variable {variable}"
        assert str(block.get("description", "")).endswith("."), f"{where}: describe it in sentences"
        assert "type" in block, f"{where}: give its type"
        nullable = "default" in block and block["default"] in (None, "null")
        assert nullable or block.get("nullable") is False, f"{where}: say nullable = false, or default = null"
        unchecked = folder in ENVIRONMENTS or "bool" in str(block["type"]) or "map" in str(block["type"])
        assert unchecked or block.get("validation"), f"{where}: add a validation that says what is right"
        for each in block.get("validation", []):
            assert f"var.{variable}" in each["condition"], f"{where}: the validation checks something else"
            assert each["error_message"].startswith(variable), f"{where}: begin the message with its name"


@each_folder
def test_outputs_are_described(folder: Path) -> None:
    """Each output says what it is and for what."""
    for output, block in blocks(folder, "output").items():
        described = str(block.get("description", "")).endswith(".")
        assert described, f"{name(folder)}: describe output {output} in a sentence"


@each_folder
def test_versions_are_pinned(folder: Path) -> None:
    """Modules and examples take a range with an end, environments the same one version."""
    (block,) = blocks(folder, "terraform").values()
    google = block["required_providers"][0]["google"]
    assert google["source"] == "hashicorp/google"
    assert re.fullmatch(r">= \d+\.\d+\.\d+, < \d+\.0\.0", block["required_version"]), (
        "bound Terraform's version"
    )
    if folder not in ENVIRONMENTS:
        assert re.fullmatch(r">= \d+\.\d+\.\d+, < \d+\.0\.0", google["version"]), (
            f"{name(folder)}: end the range: < 8.0.0"
        )
        return
    assert re.fullmatch(r"\d+\.\d+\.\d+", google["version"]), (
        f"{name(folder)}: pin the provider to one version"
    )
    pins = {
        blocks(each, "terraform")[""]["required_providers"][0]["google"]["version"] for each in ENVIRONMENTS
    }
    assert len(pins) == 1, f"the environments differ in the provider: {sorted(pins)}"


@each_environment
def test_state_is_kept_in_a_bucket_that_is_given(folder: Path) -> None:
    """The backend is remote, its bucket no part of the repository, its path the environment's own."""
    (block,) = blocks(folder, "terraform").values()
    (gcs,) = block["backend"]
    ((kind, settings),) = gcs.items()
    assert kind.strip('"') == "gcs"
    assert settings == {"prefix": f"contentfactory/{folder.name}"}


@pytest.mark.parametrize("folder", [*ENVIRONMENTS, *EXAMPLES], ids=name)
def test_modules_are_given_what_they_declare(folder: Path) -> None:
    """An environment says every variable of a module; an example at least those without default."""
    for call, block in blocks(folder, "module").items():
        declared = blocks((folder / block["source"]).resolve(), "variable")
        given = {key for key in block if key not in META | {"source"}}
        needed = {key for key, each in declared.items() if "default" not in each}
        where = f"{name(folder)}: module {call}"
        assert given <= set(declared), f"{where} has no variable {sorted(given - set(declared))}"
        missing = (set(declared) if folder in ENVIRONMENTS else needed) - given
        assert not missing, f"{where}: give it {sorted(missing)}"


def test_environments_differ_in_values_alone() -> None:
    """What was tried in dev is what production does: same resources, variables and outputs."""
    for kind in ("resource", "module", "variable", "output"):
        assert len({tuple(blocks(each, kind)) for each in ENVIRONMENTS}) == 1, f"the {kind} blocks differ"


def test_production_cannot_lose_documents() -> None:
    """Protection, past versions and backups are literals: no tfvars file takes them away."""
    production = blocks(IAC / "environments" / "production", "module")["firestore"]
    assert production["deletion_protection"] is True, "keep deletion_protection = true in production"
    assert production["point_in_time_recovery"] is True, "keep point_in_time_recovery = true in production"
    assert int(production["daily_backup_retention_days"]) >= 7, "keep a week of daily backups in production"
    assert int(production["weekly_backup_retention_days"]) >= 28, "keep four weekly backups in production"


def test_the_database_is_what_the_backend_is_written_for() -> None:
    """Native mode, Standard edition, optimistic; what guards it follows the variable."""
    database = blocks(IAC / "modules" / "firestore", "resource")["google_firestore_database.this"]
    assert database["type"] == "FIRESTORE_NATIVE"
    assert database["database_edition"] == "STANDARD", "the costs and chunk sizes hold for Standard alone"
    assert database["concurrency_mode"] == "OPTIMISTIC", "the services never use server locks"
    assert "var.deletion_protection" in database["delete_protection_state"]
    assert "var.deletion_protection" in database["deletion_policy"]


def test_accounts_are_for_the_manifests_services_and_have_no_keys() -> None:
    """One account per Kubernetes service account, documents of one database, no key to lose."""
    manifests = (
        yaml.safe_load(path.read_text()) for path in (ROOT / "k8s/base").glob("*/serviceaccount.yaml")
    )
    accounts = {each["metadata"]["name"] for each in manifests}
    module = IAC / "modules" / "service_identity"
    assert accounts == set(SERVICES) == set(blocks(module, "variable")["services"]["default"])
    for environment in ENVIRONMENTS:
        given = blocks(environment, "module")["service_identity"]["services"]
        assert set(given) == accounts, f"{name(environment)}: services must be {sorted(accounts)}"
    grant = blocks(module, "resource")["google_project_iam_member.documents"]
    assert grant["role"] == "roles/datastore.user", "a service needs documents, nothing more"
    assert "databases/${var.database_name}" in grant["condition"][0]["expression"], "bind it to one database"
    namespace = yaml.safe_load((ROOT / "k8s/overlays/dev/kustomization.yaml").read_text())["namespace"]
    default = blocks(IAC / "environments" / "dev", "variable")["namespace"]["default"]
    assert default == namespace, "dev's namespace must be that of k8s/overlays/dev"
    for folder in FOLDERS:
        assert "google_service_account_key" not in text(folder), f"{name(folder)}: pods need no key"


@each_module
def test_the_readme_lists_inputs_and_outputs(folder: Path) -> None:
    """A module's README has a row for each variable and each output, with its description."""
    readme = (folder / "README.md").read_text()
    for kind in ("variable", "output"):
        for label, block in blocks(folder, kind).items():
            rows = [line for line in readme.splitlines() if line.startswith(f"| `{label}` |")]
            listed = any(block["description"] in row for row in rows)
            assert listed, f"{name(folder)}/README.md: add a row | `{label}` | {block['description']} |"
    labels = set(re.findall(r"^\| `(\w+)` \|", readme, flags=re.MULTILINE))
    gone = labels - set(blocks(folder, "variable")) - set(blocks(folder, "output"))
    assert not gone, f"{name(folder)}/README.md lists what is not there: {sorted(gone)}"


def test_the_readmes_costs_add_up() -> None:
    """Each row of the cost table follows from the prices and quantities stated above it."""
    readme = (IAC / "README.md").read_text()
    stated = {
        key: float(value)
        for key, value in re.findall(r"^\| (\w+) \|[^|]*\| ([\d.]+) \|", readme, re.MULTILINE)
    }
    rows = re.findall(r"^\| 10(\S+) \| (.*) \|$", readme, re.MULTILINE)
    assert [exponent for exponent, _ in rows] == ["⁴", "⁶", "⁸"]
    for exponent, cells in rows:
        items = 10 ** {"⁴": 4, "⁶": 6, "⁸": 8}[exponent]
        stored = items * stated["item_kib"] / 2**20
        writes, reads = items * stated["item_writes"], items * stated["item_reads"]
        expected = [
            writes / 1e5 * stated["write"],
            reads / 1e5 * stated["read"],
            writes / 1e5 * stated["delete"],
            stored * stated["storage"],
            stored * 7 / 30 * stated["storage"],
            stored * stated["backups"] * stated["backup"],
        ]
        shown = [float(cell.strip(" $*").replace(",", "")) for cell in cells.split("|")]
        assert shown == pytest.approx([*expected, sum(expected)], abs=0.006), f"10{exponent}: {expected}"
