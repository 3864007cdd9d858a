"""The filters of templates: each is charged for what it looks at, and none can make a text out of bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, cast

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

from service_common.templating.budget import Budget, checked_size, limit_error, size_of
from service_common.templating.grammar import CHARGE_FILTER, LOOP_FILTER

BUDGET = "_budget"
_MAX_INDENT = 100


def all_filters() -> dict[str, Callable[..., Any]]:
    """Return every filter a metered template uses, by name."""
    named = {name: _metered(each) for name, each in _FILTERS.items()}
    return {**named, LOOP_FILTER: _loop, CHARGE_FILTER: _charged}


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    @wraps(function)
    def metered(context: Context, *args: Any, **kwargs: Any) -> Any:
        _budget(context).charge_for(*args, *kwargs.values())
        return function(*args, **kwargs)

    return metered


@pass_context
def _loop(context: Context, items: Any, weight: int) -> Iterator[Any]:
    return _budget(context).loop(_items(items), weight)


@pass_context
def _charged(context: Context, value: Any) -> Any:
    _budget(context).charge_for(value)
    return value


def _budget(context: Context) -> Budget:
    return cast("Budget", context[BUDGET])


def _items(value: Any) -> Iterable[Any]:
    if not isinstance(value, Iterable) or isinstance(value, Undefined):
        raise TypeError("only a list, a mapping or a text has parts to go through")
    return value


def _default(value: Any, fallback: Any = "", boolean: bool = False) -> Any:  # noqa: FBT001, FBT002 - as templates write it
    return fallback if isinstance(value, Undefined) or (boolean and not value) else value


def _join(items: Any, separator: str = "") -> str:
    texts = [str(each) for each in _items(items)]
    checked_size(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


def _replace(value: Any, old: str, new: str) -> str:
    text = str(value)
    checked_size(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _indent(value: Any, width: int = 4, first: bool = False) -> str:  # noqa: FBT001, FBT002 - as templates write it
    text = str(value)
    if not 0 <= width <= _MAX_INDENT:
        raise limit_error(f"`indent` takes a width from 0 to {_MAX_INDENT}")
    checked_size(len(text) + (text.count("\n") + 1) * width)
    lines = text.split("\n")
    pad = " " * width
    rest = [pad + line if line.strip() else line for line in lines[1:]]
    return "\n".join([(pad if first else "") + lines[0], *rest])


def _truncate(value: Any, length: int = 255, end: str = "…") -> str:
    text = str(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _whole(value: Any) -> int:
    if size_of(value) > _MAX_INDENT:
        raise limit_error("the text is too long to be a number")
    return int(value)


def _reverse(value: Sequence[Any]) -> Any:
    return value[::-1] if isinstance(value, str) else list(_items(value))[::-1]


_FILTERS: dict[str, Callable[..., Any]] = {
    "capitalize": lambda value: str(value).capitalize(),
    "default": _default,
    "first": lambda value: next(iter(_items(value))),
    "float": float,
    "indent": _indent,
    "int": _whole,
    "join": _join,
    "last": lambda value: list(_items(value))[-1],
    "length": len,
    "list": lambda value: list(_items(value)),
    "lower": lambda value: str(value).lower(),
    "replace": _replace,
    "reverse": _reverse,
    "sort": lambda value: sorted(_items(value)),
    "string": str,
    "title": lambda value: str(value).title(),
    "trim": lambda value: str(value).strip(),
    "truncate": _truncate,
    "unique": lambda value: list(dict.fromkeys(_items(value))),
    "upper": lambda value: str(value).upper(),
    "wordcount": lambda value: len(str(value).split()),
}
FILTERS = frozenset(_FILTERS)
