"""The index gate: what Terraform would apply is what the declared queries need, or CI says what to do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from service_common.storage.shapes import Direction, Order, QueryShape, Schema

from iac import generate
from tests.support.real_parts import program

ROOT = Path(__file__).parents[2]
PROCESSOR = "processor"
JOBS_BY_STATE = "google_firestore_index.processor_jobs__state_asc__create_time_desc"
UNASKED = """
# One tenant: query nobody_asks.
resource "google_firestore_index" "processor_jobs__model_asc__cost_desc" {
  project = var.project_id
}
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with copies of both generated files."""
    for path in (generate.TERRAFORM, generate.PAGE):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text((ROOT / path).read_text("utf-8"), "utf-8")
    return tmp_path


def change(copy: Path, before: str, after: str, path: Path = generate.TERRAFORM) -> None:
    """Replace the one place where a copied file says this."""
    text = (copy / path).read_text("utf-8")
    assert text.count(before) == 1, (
        f"{path} has {text.count(before)} times {before!r}: choose another mutation"
    )
    (copy / path).write_text(text.replace(before, after), "utf-8")


def block(name: str) -> str:
    """Return the text of a generated resource, its comment included."""
    kind, label = name.split(".")
    paragraphs = (ROOT / generate.TERRAFORM).read_text("utf-8").split("\n# ")
    (found,) = (each for each in paragraphs if f'resource "{kind}" "{label}"' in each)
    return f"# {found}"


def failure(copy: Path) -> str:
    """Return what the check says, which must be a failure that advises."""
    with pytest.raises(SystemExit) as caught:
        generate.main(["--check"], copy)
    message = str(caught.value)
    assert generate.ADVICE in message
    assert "make iac" in message
    return message


def with_shape(name: str, changed: QueryShape | None) -> list[Schema]:
    """Return all schemas, one of the processor's shapes changed or gone."""
    schemas = []
    for schema in generate.schemas():
        shapes = schema.shapes
        if schema.name == PROCESSOR:
            kept = [changed if each.name == name else each for each in shapes]
            assert kept != list(shapes)
            shapes = tuple(each for each in kept if each is not None)
        schemas.append(replace(schema, shapes=shapes))
    return schemas


def processor_shape(name: str) -> QueryShape:
    """Return one of the processor's shapes."""
    (schema,) = (each for each in generate.schemas() if each.name == PROCESSOR)
    (found,) = (each for each in schema.shapes if each.name == name)
    return found


def test_the_committed_files_are_what_the_queries_need() -> None:
    """The gate itself, as CI runs it."""
    command = [sys.executable, "-m", "iac.generate", "--check"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_generated_passes_the_check(copy: Path) -> None:
    """Following the advice is enough."""
    change(copy, block(JOBS_BY_STATE), "")
    failure(copy)
    generate.main([], copy)
    generate.main(["--check"], copy)


def test_terraform_finds_it_well_formed() -> None:
    """It parses, and `terraform fmt` would change nothing."""
    terraform = program("terraform", "it checks the form of the generated indexes; install Terraform")
    command = [terraform, "fmt", "-check", "-diff", str(ROOT / generate.TERRAFORM)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (None, [f"not needed: {JOBS_BY_STATE}"]),
        (
            QueryShape("jobs_by_state", "jobs", ("state",), (Order("create_time"),)),
            [f"not needed: {JOBS_BY_STATE}", f"missing: {JOBS_BY_STATE.removesuffix('desc')}asc"],
        ),
        (
            QueryShape(
                "jobs_by_state",
                "jobs",
                ("state", "owner"),
                (Order("create_time", Direction.DESCENDING),),
            ),
            [
                "missing: google_firestore_index.processor_jobs__owner_asc__state_asc__create_time_desc",
                "missing: google_firestore_field.processor_jobs__owner",
            ],
        ),
    ],
)
def test_a_broken_shape_is_named(copy: Path, changed: QueryShape | None, named: list[str]) -> None:
    """One that goes, turns round or asks for more: an index without its query, a query without its index."""
    expected = generate.render(with_shape("jobs_by_state", changed), generate.kept())
    found = "\n".join(generate.problems(copy, expected))
    assert [each for each in named if each not in found] == []
    assert f"changed: {generate.PAGE}" in found


def test_a_shape_over_other_tenants_is_named(copy: Path) -> None:
    """The same query over all tenants needs an index of another scope."""
    changed = replace(processor_shape("jobs_by_time"), all_tenants=True)
    expected = generate.render(with_shape("jobs_by_time", changed), generate.kept())
    assert (
        "changed: google_firestore_field.processor_jobs__create_time: it should not have "
        '`query_scope = "COLLECTION"`, it lacks `query_scope = "COLLECTION_GROUP"`'
    ) in generate.problems(copy, expected)


def test_a_missing_index_is_named(copy: Path) -> None:
    """With the query that needs it."""
    change(copy, block(JOBS_BY_STATE), "")
    assert f"missing: {JOBS_BY_STATE} (One tenant: query jobs_by_state)" in failure(copy)


def test_an_index_without_a_query_is_named(copy: Path) -> None:
    """Whoever wrote it in by hand."""
    path = copy / generate.TERRAFORM
    path.write_text(path.read_text("utf-8") + UNASKED, "utf-8")
    message = failure(copy)
    assert "not needed: google_firestore_index.processor_jobs__model_asc__cost_desc" in message


def test_a_changed_line_of_an_index_is_named(copy: Path) -> None:
    """With what is there and what should be."""
    before = block(JOBS_BY_STATE)
    change(copy, before, before.replace("DESCENDING", "ASCENDING", 1))
    assert (
        f'changed: {JOBS_BY_STATE}: it should not have `order      = "ASCENDING"`, '
        'it lacks `order      = "DESCENDING"`'
    ) in failure(copy)


def test_a_missing_ttl_line_is_named(copy: Path) -> None:
    """Documents would be kept, and paid for, for ever."""
    name = "google_firestore_field.tracker_events__expire_time"
    before = block(name)
    change(copy, before, before.replace("  ttl_config {}\n\n", ""))
    assert f"changed: {name}: it lacks `ttl_config {{}}`" in failure(copy)


def test_an_added_ttl_line_is_named(copy: Path) -> None:
    """Documents would be deleted that nobody declared to expire."""
    name = "google_firestore_field.processor_jobs__create_time"
    before = block(name)
    change(copy, before, before.replace("  index_config {\n", "  ttl_config {}\n\n  index_config {\n"))
    assert f"changed: {name}: it should not have `ttl_config {{}}`" in failure(copy)


def test_a_missing_exemption_is_named(copy: Path) -> None:
    """The contents would be indexed, twice."""
    name = "google_firestore_field.processor_results__body"
    change(copy, block(name), "")
    assert f"missing: {name}" in failure(copy)


def test_a_changed_exemption_is_named(copy: Path) -> None:
    """Without the empty block Firestore's defaults come back."""
    name = "google_firestore_field.processor_results__body"
    before = block(name)
    change(copy, before, before.replace("  index_config {}\n", ""))
    assert f"changed: {name}: it lacks `index_config {{}}`" in failure(copy)


@pytest.mark.parametrize("path", [generate.TERRAFORM, generate.PAGE])
def test_an_absent_file_is_a_failure(copy: Path, path: Path) -> None:
    """Nothing is right about nothing."""
    (copy / path).unlink()
    assert ("missing: " if path == generate.TERRAFORM else f"changed: {path}") in failure(copy)


def test_other_changes_are_failures(copy: Path) -> None:
    """A resource twice, text between resources, a line of the page."""
    path = copy / generate.TERRAFORM
    text = path.read_text("utf-8")
    path.write_text(f"{text}\n{block(JOBS_BY_STATE)}", "utf-8")
    assert f"repeated: {JOBS_BY_STATE}" in failure(copy)
    path.write_text(f'{text}\nlocals {{ name = "x" }}\n', "utf-8")
    assert f"changed: {generate.TERRAFORM}: outside of its resources" in failure(copy)
    path.write_text(text, "utf-8")
    change(copy, "## How long what is kept", "## How long", generate.PAGE)
    assert f"changed: {generate.PAGE}: it should not have `## How long`" in failure(copy)


def test_every_collection_says_how_long_it_is_kept() -> None:
    """A new one without its sentence fails, and so does a sentence without its collection."""
    kept = generate.kept()
    del kept["tracker_events"]
    with pytest.raises(generate.IncompleteError, match=r"tracker_events: add how long .* kept\(\) of iac"):
        generate.render(generate.schemas(), kept)
    with pytest.raises(
        generate.IncompleteError, match=r"tracker_gone: there is no such collection, remove it"
    ):
        generate.render(generate.schemas(), {**generate.kept(), "tracker_gone": "never"})


def test_services_do_not_share_collections() -> None:
    """One database holds all four, kept apart by the schemas' names."""
    first, *others = generate.schemas()
    with pytest.raises(generate.IncompleteError, match="two SCHEMAs have one name"):
        generate.render([first, first, *others], generate.kept())


def test_all_services_are_in_it() -> None:
    """Every SCHEMA below services/ is one of the generator's."""
    found = {
        path
        for path in (ROOT / "services").rglob("*.py")
        if "build" not in path.parts
        and any("SCHEMA" in assigned(each) for each in ast.parse(path.read_text("utf-8")).body)
    }
    assert {Path(str(import_module(each).__file__)) for each in generate.SCHEMA_MODULES} == found


def assigned(statement: ast.stmt) -> set[str]:
    """Return the names that a statement assigns."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {each.id for each in targets if isinstance(each, ast.Name)}


@pytest.mark.parametrize("module", generate.SCHEMA_MODULES)
def test_every_declared_query_is_asked(module: str) -> None:
    """A shape that no code uses would keep an index that no query needs: remove it from its SCHEMA."""
    declaring = import_module(module)
    package = Path(str(import_module(module.partition(".")[0]).__file__)).parent
    used = {name for path in package.rglob("*.py") for name in used_names(path)}
    for shape in declaring.SCHEMA.shapes:
        names = {name for name, value in vars(declaring).items() if value is shape}
        assert names & used, f"no query uses the shape {shape.name!r}; remove it from {module}.SCHEMA"


def test_a_query_that_is_only_declared_is_not_asked(tmp_path: Path) -> None:
    """Its place in the SCHEMA and an import are no use of it."""
    path = tmp_path / "repository.py"
    path.write_text("from schema import A, B\nC = D()\nSCHEMA = Schema((A, B, C))\nask(B)\n", "utf-8")
    assert set(used_names(path)) == {"D", "ask", "B"}


def used_names(path: Path) -> Iterator[str]:
    """Yield the names a module reads, except to declare its SCHEMA or to import them."""
    for statement in ast.parse(path.read_text("utf-8")).body:
        if "SCHEMA" in assigned(statement):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute):
                yield node.attr
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield node.id
