"""A compiled schema: checked once, then told by each value what is wrong with it, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs

from service_common.json_schema.bounds import weight_of
from service_common.json_schema.subschemas import Anatomy, SchemaRefusedError

MAX_SCHEMA_BYTES = 16 * 1024
MAX_WORK = 2_000_000
"""The most evaluations of subschemas for one value; they take some tens of milliseconds."""

_MAX_PATTERN_WORK = 2_000_000
_MAX_FINDING_CHARACTERS = 200
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=128 * 1024, dfa_size_limit=1024 * 1024)


class Schema:
    """A schema that is ready to be used. Immutable, safe to share."""

    __slots__ = ("_patterns", "_validator", "_weight")

    def __init__(self, validator: jsonschema_rs.Draft202012Validator, *, weight: int, patterns: int) -> None:
        self._validator = validator
        self._weight = weight
        self._patterns = patterns

    def findings(self, value: Any, text: str, *, most: int) -> list[str]:
        """Say what is wrong with a value; nothing when it fits.

        Args:
            value: The value, as read from JSON.
            text: The JSON it was read from, which bounds the work.
            most: How many findings at most.
        """
        parts = 1 + text.count(",") + text.count("[") + text.count("{")
        if parts * self._weight > MAX_WORK or len(text) * self._patterns > _MAX_PATTERN_WORK:
            return [f"it is too large for its schema: {parts} values in {len(text)} characters"]
        try:
            return [*islice(self._in_words(value), most)]
        except ValueError:  # what the evaluator raises for a value that is nested too deeply
            return ["it is nested too deeply"]

    def _in_words(self, value: Any) -> Iterator[str]:
        for error in self._validator.iter_errors(value):
            place = "".join(
                f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.instance_path
            )
            yield _short(f"${place}: {error.message}")


@lru_cache(maxsize=512)
def compile_schema(text: str) -> Schema:
    """Compile a schema; the same text is compiled once.

    Raises:
        SchemaRefusedError: If it is no schema, or evaluating it is not safe.
    """
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise SchemaRefusedError(f"must be at most {MAX_SCHEMA_BYTES} bytes")
    try:
        schema = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise SchemaRefusedError(f"is not JSON: {_short(str(error))}") from error
    if not isinstance(schema, dict):
        raise SchemaRefusedError("must be a JSON object")
    anatomy = Anatomy(schema)
    weight = weight_of(anatomy)
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema,
            pattern_options=_PATTERNS,
            validate_formats=True,
            ignore_unknown_formats=False,
            offline=True,
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise SchemaRefusedError(_compile_error(error)) from error
    return Schema(validator, weight=weight, patterns=anatomy.patterns)


def _compile_error(error: Exception) -> str:
    if not isinstance(error, jsonschema_rs.ValidationError):
        return _short(str(error))
    place = "/".join(("#", *map(str, error.instance_path)))
    if 'not a "regex"' in error.message:
        return _short(
            f"{place}: {error.message} of linear time (no look-around, no back-reference), or it is too large"
        )
    return _short(f"{place}: {error.message}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is given twice in one object")
    return members


def _short(text: str) -> str:
    """Return a text, its middle left out if it is long: what is wrong stands at its end."""
    spare = len(text) - _MAX_FINDING_CHARACTERS
    if spare <= 0:
        return text
    head = _MAX_FINDING_CHARACTERS // 3
    return f"{text[:head]}…{text[head + spare + 1 :]}"
