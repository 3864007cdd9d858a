"""JSON Schemas of strangers: what fits is said to fit, what is hostile is refused, and nothing takes long."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_common.json_schema import SchemaRefusedError, compile_schema
from service_common.json_schema.bounds import MAX_WEIGHT, weight_of
from service_common.json_schema.schema import MAX_SCHEMA_BYTES
from service_common.json_schema.subschemas import Anatomy

CARDS = {
    "type": "object",
    "required": ["cards"],
    "additionalProperties": False,
    "properties": {
        "cards": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "required": ["front", "back"],
                "properties": {"front": {"type": "string", "maxLength": 20}, "back": {"type": "string"}},
            },
        }
    },
}
TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
TWICE = {"$ref": "#/$defs/x"}


def findings(schema: dict[str, Any], value: Any) -> list[str]:
    """Say what is wrong with a value."""
    return compile_schema(json.dumps(schema)).findings(value, json.dumps(value), most=8)


def refusal(schema: Any) -> str:
    """Return why a schema is refused."""
    with pytest.raises(SchemaRefusedError) as caught:
        compile_schema(schema if isinstance(schema, str) else json.dumps(schema))
    return str(caught.value)


def test_what_fits_has_no_findings() -> None:
    """A value that fits its schema is not complained of."""
    assert findings(CARDS, {"cards": [{"front": "a", "back": "b"}] * 2}) == []


def test_a_finding_names_the_place_and_the_rule() -> None:
    """Each finding says where and what, so that a model or a person can mend it."""
    found = findings(CARDS, {"cards": [{"front": 7, "back": "b"}], "more": 1})
    assert any("$.cards[0].front" in each and "string" in each for each in found)
    assert any("$.cards" in each and "less than 2 items" in each for each in found)
    assert any("'more'" in each for each in found)


def test_a_finding_is_short_and_keeps_its_end() -> None:
    """A long value is cut in its middle, so that what is wrong with it is still said."""
    (found,) = findings(CARDS, {"cards": [{"front": "x" * 5000, "back": ""}] * 2})[:1]
    assert len(found) <= 200
    assert "longer than 20 characters" in found


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("[", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"minimum": NaN}', "NaN"),
        ('{"type": "string", "type": "number"}', "twice"),
        ({"type": "texts"}, "#/type"),
        ({"properties": {"a": {"required": "b"}}}, "#/properties/a/required"),
        ({"requird": ["a"]}, "'requird' is not supported"),
        ({"$id": "https://elsewhere.example/x"}, "'$id' is not supported"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "#/$schema"),
        ({"$ref": "https://elsewhere.example/schema"}, "nothing is read from elsewhere"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"format": "regex"}, "#/format"),
        ({"items": 7}, "#/items: must be a schema"),
        ({"properties": []}, "#/properties: must be an object"),
        ({"anyOf": {}}, "#/anyOf: must be a list"),
        ({"pattern": "(a|b)(?=c)"}, "linear time"),
        ({"pattern": r"(a)\1"}, "linear time"),
        ({"pattern": "a{1000}{1000}"}, "too large"),
        ({"pattern": "a" * 257}, "at most 256 characters"),
        ({"patternProperties": {"(": True}}, "linear time"),
        ({"allOf": [{"pattern": str(n)} for n in range(33)]}, "more than 32 patterns"),
        ({"enum": list(range(501))}, "#/enum"),
        ({"properties": {f"p{n}": {} for n in range(500)}}, "more than 500 subschemas"),
        ({"$comment": "x" * MAX_SCHEMA_BYTES}, "bytes"),
        ({"$ref": "#"}, "without going into the value"),
        ({"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#"}]}]}, "without going into the value"),
        ({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, "more than one way"),
        ({"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}, "more than one way"),
        ({"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "more than one way"),
    ],
)
def test_what_cannot_be_evaluated_safely_is_refused(schema: Any, why: str) -> None:
    """Typing errors and hostile schemas are refused when they are made, and the text says where and why."""
    assert why in refusal(schema)


def test_references_that_multiply_are_refused() -> None:
    """Thirty definitions that each use the next twice would be evaluated a thousand million times."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    assert "once its references are followed" in refusal(
        {"$ref": "#/$defs/d0", "$defs": {**definitions, "d30": {"type": "string"}}}
    )


def test_deep_nesting_is_refused_however_deep() -> None:
    """A schema of a few levels too many and one of thousands are refused alike."""
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"items": schema}
    assert "deeper than 32 levels" in refusal(schema)
    assert refusal('{"items":' * 1500 + "{}" + "}" * 1500)


def test_recursion_that_goes_one_way_is_welcome() -> None:
    """A tree may be described: its work grows with the value and not faster."""
    value: Any = {}
    for _ in range(100):
        value = {"left": value}
    assert findings(TREE, value) == []
    assert findings(TREE, {"left": {"right": 3}})


def test_a_value_too_large_for_its_schema_is_said_to_be() -> None:
    """The work of one evaluation is bounded before it begins."""
    schema = {"items": {"allOf": [{"type": "number"}] * 200}}
    (found,) = findings(schema, [1] * 20_000)
    assert "too large for its schema" in found
    assert findings(schema, [1] * 100) == []


def test_a_value_nested_to_the_limit_of_json_is_survived() -> None:
    """Neither the evaluator nor the process falls over a value as deep as the parser lets through."""
    deep = "[" * 1000 + "]" * 1000
    schema = compile_schema(json.dumps({"type": "array", "items": {"$ref": "#"}}))
    assert isinstance(schema.findings(orjson.loads(deep), deep, most=3), list)


SCHEMAS: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.booleans()
        | st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["object", "array", "string", "number", "bogus"]),
                "properties": st.dictionaries(st.sampled_from("abc"), SCHEMAS, max_size=3),
                "additionalProperties": SCHEMAS,
                "patternProperties": st.dictionaries(
                    st.sampled_from(["^a", "(", "b+$"]), SCHEMAS, max_size=2
                ),
                "items": SCHEMAS,
                "prefixItems": st.lists(SCHEMAS, max_size=2),
                "contains": SCHEMAS,
                "anyOf": st.lists(SCHEMAS, min_size=1, max_size=3),
                "allOf": st.lists(SCHEMAS, min_size=1, max_size=3),
                "not": SCHEMAS,
                "$ref": st.sampled_from(["#", "#/$defs/x", "#/$defs/y", "#/nowhere", "http://x/"]),
                "$defs": st.fixed_dictionaries({}, optional={"x": SCHEMAS, "y": SCHEMAS}),
                "pattern": st.text(max_size=12),
                "format": st.sampled_from(["date", "uri", "no-such"]),
                "enum": st.lists(st.integers(), max_size=3),
            },
        )
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=24,
)


def steps(schema: Any, root: Any, value: Any) -> int:
    """Count what a plain evaluator does, that tries every subschema and stops at nothing."""
    if not isinstance(schema, dict):
        return 1
    same = [schema[each] for each in ("not", "if", "then", "else") if each in schema]
    same += [each for word in ("anyOf", "allOf", "oneOf") for each in schema.get(word, ())]
    if "$ref" in schema:
        target = schema["$ref"].removeprefix("#").strip("/").split("/")
        same.append(root if target == [""] else root[target[0]][target[1]])
    count = 1 + sum(steps(each, root, value) for each in same)
    for part, where in _parts(schema, value):
        count += steps(where, root, part)
    return count


def _parts(schema: dict[str, Any], value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        for name, part in value.items():
            named = schema.get("properties", {})
            found += [(part, named[name])] if name in named else []
            found += [(part, each) for each in schema.get("patternProperties", {}).values()]
            if name not in named and "additionalProperties" in schema:
                found.append((part, schema["additionalProperties"]))
    if isinstance(value, list):
        prefix = schema.get("prefixItems", [])
        for at, part in enumerate(value):
            if at < len(prefix):
                found.append((part, prefix[at]))
            elif "items" in schema:
                found.append((part, schema["items"]))
            found += [(part, schema["contains"])] if "contains" in schema else []
    return found


def size(value: Any) -> int:
    """Count the parts of a value."""
    if isinstance(value, dict):
        return 1 + sum(map(size, value.values()))
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


@given(SCHEMAS, JSON)
def test_no_schema_breaks_anything_and_none_is_worth_more_than_its_weight(schema: Any, value: Any) -> None:
    """Whatever comes is refused or evaluated within parts times weight, by an evaluator that never stops."""
    if not isinstance(schema, dict):
        return
    try:
        compiled = compile_schema(json.dumps(schema))
    except SchemaRefusedError:
        return
    found = compiled.findings(value, json.dumps(value), most=8)
    assert all(0 < len(each) <= 200 for each in found)
    weight = weight_of(Anatomy(schema))
    assert weight <= MAX_WEIGHT
    assert steps(schema, schema, value) <= size(value) * weight


@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_schema_or_refused(text: str) -> None:
    """Nothing that is sent as a schema raises anything but a refusal."""
    with suppress(SchemaRefusedError):
        compile_schema(text)
