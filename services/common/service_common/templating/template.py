"""Compiling and rendering: the one environment all templates live in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import jinja2
from jinja2 import meta
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service_common.errors import ErrorKind, FieldViolation, ServiceError
from service_common.templating.budget import Budget, checked_size, limit_error, size_of
from service_common.templating.filters import BUDGET, FILTERS, all_filters
from service_common.templating.grammar import MAX_TEMPLATE_CHARS, TESTS, check, invalid_template, meter

Value: TypeAlias = str | int | float | Sequence["Value"] | Mapping[str, "Value"] | None

CACHED_TEMPLATES = 256
MAX_VALUES_CHARS = 1024 * 1024
_MAX_VALUE_DEPTH = 8
_MAX_NUMBER = 2**63
_LOOP_FACTS = frozenset({"index", "index0", "revindex", "first", "last", "length"})
_RENDER_FAULTS = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, narrowed: no attribute of any object, and numbers alone are added."""

    intercepted_binops = frozenset({"+", "-"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in _LOOP_FACTS:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping) and argument in obj:
            return obj[argument]
        if isinstance(obj, Sequence) and isinstance(argument, int) and -len(obj) <= argument < len(obj):
            return obj[argument]
        return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002 - jinja2's signature
        if not all(isinstance(each, int | float) and abs(each) < _MAX_NUMBER for each in (left, right)):
            raise TypeError(f"`{operator}` takes two numbers")
        return left + right if operator == "+" else left - right


def _shown(value: Any) -> Any:
    if isinstance(value, str | int | float | jinja2.Undefined):
        return value
    if value is None:
        return ""
    raise TypeError("a list or mapping is not text; loop over it or use `join`")


def _make_environment() -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        cache_size=0,
    )
    environment.globals.clear()
    environment.filters = all_filters()
    environment.tests = {name: each for name, each in environment.tests.items() if name in TESTS}
    return environment


_environment = _make_environment()


class Template:
    """A compiled template: immutable, so it may be shared.

    Attributes:
        variables: The names it may ask for; some only in branches.
    """

    __slots__ = ("_compiled", "variables")

    def __init__(self, compiled: jinja2.Template, variables: frozenset[str]) -> None:
        self._compiled = compiled
        self.variables = variables

    def render(self, variables: Mapping[str, Value]) -> str:
        """Fill the template in; equal variables always give the same text.

        Args:
            variables: Values by name; ones it does not ask for are ignored.

        Raises:
            ServiceError: INVALID_ARGUMENT with reason INVALID_VARIABLES for a missing or unfit value, and
                TEMPLATE_LIMIT when values, work or text are out of bounds.
        """
        used = {name: variables[name] for name in self.variables if name in variables}
        _check_values(used)
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._compiled.generate({**used, BUDGET: Budget()}):
                length += len(piece)
                checked_size(length)
                pieces.append(piece)
        except ServiceError:
            raise
        except _RENDER_FAULTS as error:
            raise _unfit(str(error) or type(error).__name__) from error
        return "".join(pieces)


@lru_cache(maxsize=CACHED_TEMPLATES)
def compile_template(source: str) -> Template:
    """Compile a template; recently used ones are remembered.

    Blocks take their line with them: the newline after `{% … %}` and the blanks before it are dropped.

    Args:
        source: Jinja2's syntax, of which a part is available.

    Raises:
        ServiceError: INVALID_ARGUMENT with reason INVALID_TEMPLATE, saying what and on which line.
    """
    if len(source) > MAX_TEMPLATE_CHARS:
        raise limit_error(f"a template has at most {MAX_TEMPLATE_CHARS} characters")
    try:
        tree = _environment.parse(source)
        check(tree, filters=FILTERS)
        variables = frozenset(meta.find_undeclared_variables(tree))
        meter(tree)
        code = _environment.compile(tree)
        compiled = jinja2.Template.from_code(_environment, code, {})
    except jinja2.TemplateSyntaxError as error:
        raise invalid_template(error.message or "not a template", error.lineno) from error
    except (RecursionError, MemoryError, SyntaxError, ValueError, jinja2.TemplateError) as error:
        raise invalid_template("too deeply nested, or a literal that cannot be read") from error
    return Template(compiled, variables)


def _check_values(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        problem = _objection(value, 0)
        if problem:
            raise _unfit(f"`{name}` {problem}", name)
    total = sum(size_of(value) for value in values.values())
    if total > MAX_VALUES_CHARS:
        raise limit_error(f"variables hold at most {MAX_VALUES_CHARS} characters together, not {total}")


def _objection(value: Any, depth: int) -> str:
    if depth > _MAX_VALUE_DEPTH:
        return f"is nested deeper than {_MAX_VALUE_DEPTH}"
    if value is None or isinstance(value, str | int | float):
        return ""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "has a key that is not text"
        return next(filter(None, (_objection(each, depth + 1) for each in value.values())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_objection(each, depth + 1) for each in value)), "")
    return f"is a {type(value).__name__}, not text, a number, a list or a mapping"


def _unfit(text: str, name: str | None = None) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_VARIABLES",
        f"the template cannot be filled in: {text}",
        violations=(FieldViolation(f"variables.{name}" if name else "variables", text),),
    )
