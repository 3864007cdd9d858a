"""A schema taken apart: its subschemas, and which of them look at the same value or at a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

SchemaJson: TypeAlias = "Mapping[str, Any] | bool"

MAX_SUBSCHEMAS = 500
MAX_DEPTH = 32
MAX_PATTERN_CHARACTERS = 256
MAX_PATTERNS = 32
MAX_CHOICES = 500

_DEFINITIONS = ("$defs", "definitions")
_SAME_VALUE = ("not", "if", "then", "else")
_SAME_VALUE_LISTS = ("allOf", "anyOf", "oneOf")
_PARTS = ("items", "contains", "additionalProperties", "propertyNames")
_FORMATS = frozenset(
    {
        *("date", "date-time", "time", "duration", "email", "hostname"),
        *("ipv4", "ipv6", "uri", "uri-reference", "uuid", "json-pointer"),
    }
)
_PLAIN = frozenset(
    {
        *("type", "const", "enum", "format", "pattern", "$ref", "$schema", "$comment"),
        *("required", "dependentRequired", "minProperties", "maxProperties"),
        *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minLength", "maxLength"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    }
)
_KNOWN = _PLAIN.union(_DEFINITIONS, _SAME_VALUE, _SAME_VALUE_LISTS, _PARTS) | {
    *("properties", "patternProperties", "prefixItems", "dependentSchemas"),
}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


class SchemaRefusedError(ValueError):
    """A schema that is not evaluated here; the text says where and why."""


@dataclass(slots=True)
class Subschema:
    """One schema within the whole.

    Attributes:
        path: Where it is, as a JSON pointer.
        same_value: Subschemas that look at the same value, by index; each as often as it is evaluated.
        parts: Groups of subschemas that look at parts of the value; of a group at most one looks at any part.
    """

    path: str
    same_value: list[int] = field(default_factory=list)
    parts: list[list[int]] = field(default_factory=list)


class Anatomy:
    """The subschemas of a schema; the first is the whole.

    Attributes:
        subschemas: All of them.
        patterns: How many regular expressions there are.
    """

    def __init__(self, schema: SchemaJson) -> None:
        """Take a schema apart.

        Raises:
            SchemaRefusedError: If it uses what is not known here, or is too large or too deep.
        """
        self.subschemas: list[Subschema] = []
        self.patterns = 0
        self._by_path: dict[str, int] = {}
        self._references: list[tuple[int, str]] = []
        self._add(schema, "#", depth=0)
        for index, target in self._references:
            if target not in self._by_path:
                raise SchemaRefusedError(f"{self.subschemas[index].path}: $ref {target!r} leads nowhere")
            self.subschemas[index].same_value.append(self._by_path[target])

    def _add(self, schema: Any, path: str, *, depth: int) -> int:
        if len(self.subschemas) >= MAX_SUBSCHEMAS:
            raise SchemaRefusedError(f"it has more than {MAX_SUBSCHEMAS} subschemas")
        if depth > MAX_DEPTH:
            raise SchemaRefusedError(f"{path[:80]}…: it is nested deeper than {MAX_DEPTH} levels")
        if not isinstance(schema, dict | bool):
            raise SchemaRefusedError(f"{path}: must be a schema: an object, true or false")
        index = len(self.subschemas)
        node = Subschema(path)
        self.subschemas.append(node)
        self._by_path[path] = index
        if isinstance(schema, dict):
            self._check(schema, path)
            self._take_apart(schema, node, index, depth=depth + 1)
        return index

    def _check(self, schema: Mapping[str, Any], path: str) -> None:
        """Refuse words that are not known here, or are known and might take for ever."""
        for word in schema:
            if word not in _KNOWN:
                raise SchemaRefusedError(f"{path}: the keyword {word!r} is not supported")
        if schema.get("$schema", _DRAFT) != _DRAFT:
            raise SchemaRefusedError(f"{path}/$schema: must be {_DRAFT} or left out")
        if str(schema.get("format", "date")) not in _FORMATS:
            raise SchemaRefusedError(f"{path}/format: must be one of {', '.join(sorted(_FORMATS))}")
        choices = schema.get("enum", [])
        if not isinstance(choices, list) or len(choices) > MAX_CHOICES:
            raise SchemaRefusedError(f"{path}/enum: must be a list of at most {MAX_CHOICES} values")
        patterns = [schema["pattern"]] if "pattern" in schema else []
        patterns += _members(schema, "patternProperties", path)
        self.patterns += len(patterns)
        if self.patterns > MAX_PATTERNS:
            raise SchemaRefusedError(f"it has more than {MAX_PATTERNS} patterns")
        if any(not isinstance(each, str) or len(each) > MAX_PATTERN_CHARACTERS for each in patterns):
            raise SchemaRefusedError(
                f"{path}: a pattern must be a text of at most {MAX_PATTERN_CHARACTERS} characters"
            )

    def _take_apart(self, schema: Mapping[str, Any], node: Subschema, index: int, *, depth: int) -> None:
        path = node.path

        def add(child: Any, *steps: str | int) -> int:
            return self._add(child, "/".join((path, *map(_escaped, steps))), depth=depth)

        for word in _DEFINITIONS:
            for name, child in _members(schema, word, path).items():
                add(child, word, name)
        node.same_value += [add(schema[word], word) for word in _SAME_VALUE if word in schema]
        for word in _SAME_VALUE_LISTS:
            node.same_value += [add(child, word, at) for at, child in _elements(schema, word, path)]
        for name, child in _members(schema, "dependentSchemas", path).items():
            node.same_value.append(add(child, "dependentSchemas", name))
        node.parts = [
            [
                *(
                    add(child, "properties", name)
                    for name, child in _members(schema, "properties", path).items()
                ),
                *(add(schema[word], word) for word in ("additionalProperties",) if word in schema),
            ],
            *(
                [add(each, "patternProperties", name)]
                for name, each in _members(schema, "patternProperties", path).items()
            ),
            [
                *(add(child, "prefixItems", at) for at, child in _elements(schema, "prefixItems", path)),
                *(add(schema[word], word) for word in ("items",) if word in schema),
            ],
            *([add(schema[word], word)] for word in ("contains", "propertyNames") if word in schema),
        ]
        if "$ref" in schema:
            self._references.append((index, _local(schema["$ref"], path)))


def _local(reference: Any, path: str) -> str:
    """Return the path a reference names, which must be the whole or one of its definitions."""
    if reference == "#":
        return "#"
    steps = reference.split("/") if isinstance(reference, str) else []
    if len(steps) != 3 or steps[0] != "#" or steps[1] not in _DEFINITIONS:  # noqa: PLR2004 - as the message says
        raise SchemaRefusedError(
            f"{path}/$ref: must be '#' or '#/$defs/NAME'; nothing is read from elsewhere"
        )
    return str(reference)


def _members(schema: Mapping[str, Any], word: str, path: str) -> dict[str, Any]:
    members = schema.get(word, {})
    if not isinstance(members, dict):
        raise SchemaRefusedError(f"{path}/{word}: must be an object")
    return members


def _elements(schema: Mapping[str, Any], word: str, path: str) -> Iterator[tuple[int, Any]]:
    elements = schema.get(word, [])
    if not isinstance(elements, list):
        raise SchemaRefusedError(f"{path}/{word}: must be a list of schemas")
    return enumerate(elements)


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
