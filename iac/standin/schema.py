"""Read the google provider's argument schema from its TypeScript bindings, for the resources used here.

The bindings are generated from the provider's own schema. To make schema.json anew:

    npm pack @cdktf/provider-google@16.12.1 && tar xzf cdktf-provider-google-*.tgz
    python iac/standin/schema.py package > iac/standin/schema.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

RESOURCES = (
    "google_artifact_registry_repository",
    "google_artifact_registry_repository_iam_member",
    "google_firestore_backup_schedule",
    "google_firestore_database",
    "google_firestore_field",
    "google_firestore_index",
    "google_memorystore_instance",
    "google_network_connectivity_service_connection_policy",
    "google_project_iam_member",
    "google_project_service",
    "google_service_account",
    "google_service_account_iam_member",
)

INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
PROPERTY = re.compile(r"/\*\*((?:(?!\*/).)*?)#(\w+) \w+#\w+\}.*?readonly \w+(\??): ([^;]+);", re.DOTALL)
CHOICES = re.compile(r"Possible values: (\[\"[^\]]*\])")
CLASS = re.compile(r"^export declare class (\w+) extends [^{]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
GETTER = re.compile(r"(set |get )(\w+)\((?:[^)]*)\)(?:: ([^;]+))?;")
SCALARS = {"string": "string", "number": "number", "boolean": "bool", "string[]": "strings"}
OWN = {"internalValue", "fqn", "terraformAttribute"}


def snake(name: str) -> str:
    """Return a TypeScript name as Terraform writes it."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def scalar(kind: str) -> str | None:
    """Return the scalar kind of a TypeScript type, or None for a structure."""
    for part in kind.split(" | "):
        if part in SCALARS:
            return SCALARS[part]
        if "[key: string]" in part or part == "cdktf.StringMap":
            return "map"
    return None


def arguments(interfaces: dict[str, str], sets: set[str], name: str) -> dict[str, Any]:
    """Return the arguments and blocks of an interface."""
    found: dict[str, Any] = {}
    for comment, argument, optional, kind in PROPERTY.findall(interfaces[name]):
        required = not optional
        if (plain := scalar(kind)) is not None:
            found[argument] = {"type": plain, "required": required}
            if choices := CHOICES.search(comment):
                found[argument]["choices"] = json.loads(choices[1])
        elif argument != "timeouts":
            inner = re.split(r"[\[ ]", kind)[0]
            nesting = "set" if f"{inner}List" in sets else "list"
            found[argument] = {
                "block": nesting,
                "required": required,
                "of": arguments(interfaces, sets, inner),
            }
    return found


def computed(classes: dict[str, str], name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return what the provider alone sets, by the classes' getters that have no setter."""
    found: dict[str, Any] = {}
    parts = GETTER.findall(classes[name])
    settable = {each for kind, each, _ in parts if kind == "set "}
    for kind, each, of in parts:
        argument = snake(each)
        if kind == "set " or each in settable | OWN or each.endswith("Input") or argument in given:
            continue
        if (plain := scalar(of or "")) is not None:
            found[argument] = {"type": plain, "computed": True}
        elif of.endswith("List") and of in classes:
            inner = computed(classes, f"{of.removesuffix('List')}OutputReference", {})
            found[argument] = {"type": "objects", "computed": True, "of": inner}
        elif of == "cdktf.StringMap":
            found[argument] = {"type": "map", "computed": True}
    return found


def resource(package: Path, name: str) -> dict[str, Any]:
    """Return one resource's schema."""
    folder = package / "lib" / name.removeprefix("google_").replace("_", "-")
    typings = (folder / "index.d.ts").read_text()
    code = (folder / "index.js").read_text()
    interfaces = dict(INTERFACE.findall(typings))
    classes = dict(CLASS.findall(typings))
    sets = set(re.findall(r"new (\w+List)\(this, \"\w+\", true\)", code))
    main = "".join(part.title() for part in name.removeprefix("google_").split("_"))
    given = arguments(interfaces, sets, f"{main}Config")
    return given | computed(classes, main, given)


def main() -> None:
    """Print the schema of every resource as JSON."""
    package = Path(sys.argv[1])
    print(json.dumps({name: resource(package, name) for name in RESOURCES}, indent=1, sort_keys=True))  # noqa: T201


if __name__ == "__main__":
    main()
