"""Templates: what they can do, and everything hostile ending soon in a clear error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_common.errors import ErrorKind, ServiceError
from service_common.templating import Value, compile_template

LONG = "a" * 5000
VALUES: dict[str, Value] = {"x": LONG, "items": ["q", "r"], "person": {"name": "Ann"}}

REFUSED = [
    "{{ ''.__class__.__mro__ }}", "{{ x.__class__ }}", "{{ x['__class__'] }}", "{{ person.keys }}",
    "{{ x.upper }}", "{{ range(10**9) }}", "{{ 'a' * 10**9 }}", "{{ 10**10**10 }}", "{{ 1 / 0 }}",
    "{{ '%s'|format(1) }}", "{{ '{0.__class__}'.format(1) }}", "{{ x|attr('__class__') }}", "{{ 'a' + 'b' }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% include 'a' %}", "{% import 'a' as b %}",
    "{% set a = x %}", "{{ x ~ x }}", "{{ missing }}", "{{ items }}", "{{ self }}", "{{ cycler }}",
    "{% for i in items recursive %}{{ loop(items) }}{% endfor %}", "{{ _budget }}", "{{ x|_loop(1) }}",
    "{% for i in items %}{{ loop.__class__ }}{% endfor %}",
    "{% for i in items %}{{ loop._iterable }}{% endfor %}",
    "{{ x|list|join(x)|list|join(x) }}", "{{ x|replace('a', x)|replace('a', x) }}",
    "{{ x|indent(999999999) }}",
    "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in x %}{% for b in x %}{% if x in x %}{% endif %}{% endfor %}{% endfor %}",
    "{% for a in x %}{{ x }}{% endfor %}", "{% for a in x %}" * 30 + "{% endfor %}" * 30,
    "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}", "{{ " + "-" * 5000 + "1 }}", "{{ " + "9" * 5000 + " }}",
    "{% if 1 %}" * 200 + "{% endif %}" * 200, "{{ " + "x or " * 500 + "x }}", "{%", "{{ x", "y" * 300_000,
    "{{ x|default(x, *items) }}", "{{ x|map('upper') }}", "{{ x is callable }}", "{{ x[0:10**9] }}",
    "{{ 'x'|int }}",
]  # fmt: skip


@pytest.mark.parametrize("source", REFUSED, ids=lambda source: source[:40])
@pytest.mark.timeout(5)
def test_hostile_templates_end_soon_in_a_clear_error(source: str) -> None:
    """Each ends in INVALID_ARGUMENT within the time limit, and shows nothing of Python's inside."""
    with pytest.raises(ServiceError) as caught:
        compile_template(source).render(VALUES)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.reason in {"INVALID_TEMPLATE", "INVALID_VARIABLES", "TEMPLATE_LIMIT"}
    assert "0x" not in caught.value.message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hello {{ person.name }}, {{ person['name'] }}!", "Hello Ann, Ann!"),
        ("{% for i in items %}\n{{ loop.index }}. {{ i }}\n{% endfor %}\n", "1. q\n2. r\n"),
        ("{{ items|join(', ') }} {{ items|length + 1 }}", "q, r 3"),
        ("{% if tone is defined %}a{% else %}b{% endif %}", "b"),
        ("{{ tone|default('calm') }} {{ items|last|upper }} {{ 3 - 5 }}", "calm R -2"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{{ x|truncate(3) }}", "aa…"),
    ],
)
def test_what_templates_can_do(source: str, expected: str) -> None:
    """The ordinary constructs render as Jinja2's manual says."""
    assert compile_template(source).render(VALUES) == expected


@given(st.text(max_size=200))
def test_values_are_inserted_verbatim(value: str) -> None:
    """No value is escaped or read as template."""
    assert compile_template("<{{ x }}>").render({"x": value}) == f"<{value}>"


@given(st.text(alphabet="{}%# xfor_in|.()'\n1+", max_size=60))
def test_any_text_compiles_or_is_refused(source: str) -> None:
    """No source makes anything but text or a ServiceError."""
    with suppress(ServiceError):
        assert isinstance(compile_template(source).render({"x": "v"}), str)


def test_variables_are_those_of_all_branches() -> None:
    """Loop variables and `loop` are not asked for; names in branches are."""
    template = compile_template(
        "{% for i in a %}{{ i }}{{ loop.index }}{% endfor %}{% if b %}{{ c.d }}{% endif %}"
    )
    assert template.variables == {"a", "b", "c"}


def test_a_syntax_error_names_its_line() -> None:
    """The line is in the message and in the metadata."""
    with pytest.raises(ServiceError, match="line 3") as caught:
        compile_template("a\nb\n{% if %}")
    assert caught.value.metadata["line"] == "3"


def test_unfit_values_are_named() -> None:
    """An object, a key that is not text, deep nesting and too much text are refused before rendering."""
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    for value in (object(), {1: "a"}, deep, "a" * 2_000_000, b"bytes"):
        with pytest.raises(ServiceError) as caught:
            compile_template("{% for i in x %}{% endfor %}").render({"x": value})  # type: ignore[dict-item]  # the point
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
