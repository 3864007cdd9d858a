"""Encoded values compare as the values do; the pages of every query rest on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st
from service_common.storage.ordering import after_all, encode, invert

INTEGERS = st.integers(-(2**63), 2**63 - 1)
NEAR_FLOAT_GAPS = st.builds(
    lambda power, off: min(2**power + off, 2**63 - 1), st.integers(50, 63), st.integers(-3, 3)
)
NUMBERS = (
    INTEGERS
    | NEAR_FLOAT_GAPS
    | NEAR_FLOAT_GAPS.map(lambda n: -n)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(st.sampled_from("\0\1a\xffü\U0001f600"), max_size=6)
BLOBS = st.lists(st.sampled_from([0, 1, 2, 0xFE, 0xFF]), max_size=6).map(bytes)
MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone


@given(NUMBERS, NUMBERS)
@example(2**53, float(2**53))
@example(2**53 + 1, float(2**53))
@example(2**63 - 1, 2.0**63)
@example(-(2**53) - 1, -float(2**53))
@example(0, -0.0)
def test_numbers_compare_by_value(one: float, other: float) -> None:
    """Integers and floats interleave exactly, also where floats skip integers."""
    encoded = encode("f", one), encode("f", other)
    assert (encoded[0] < encoded[1]) == (Fraction(one) < Fraction(other))
    assert (encoded[0] == encoded[1]) == (Fraction(one) == Fraction(other))


@given(st.one_of(*(st.tuples(kind, kind) for kind in (TEXTS, BLOBS, MOMENTS))))
def test_other_types_compare_as_python_does(pair: tuple[str, str]) -> None:
    """Text by code point, bytes by byte, times by moment; inverted the other way round."""
    one, other = (encode("f", each) for each in pair)
    assert (one < other) == (pair[0] < pair[1])
    assert (one == other) == (pair[0] == pair[1])
    assert (invert(one) > invert(other)) == (pair[0] < pair[1])


@given(st.tuples(TEXTS | NUMBERS, TEXTS), st.tuples(TEXTS | NUMBERS, TEXTS), st.sampled_from([invert, bytes]))
def test_concatenations_compare_field_by_field(
    one: tuple[str, str], other: tuple[str, str], turn: Callable[[bytes], bytes]
) -> None:
    """No encoding is a prefix of another, so a later field never decides before an earlier one."""
    first = turn(encode("f", one[0])), encode("f", one[1])
    second = turn(encode("f", other[0])), encode("f", other[1])
    assert (b"".join(first) < b"".join(second)) == (first < second)


@given(BLOBS.filter(lambda raw: raw.strip(b"\xff") != b""), BLOBS)
def test_after_all_bounds_a_prefix(prefix: bytes, rest: bytes) -> None:
    """The bound lies behind all that starts with the prefix, and before all else that is greater."""
    bound = after_all(prefix)
    assert prefix + rest < bound
    assert not (prefix < rest < bound) or rest.startswith(prefix)
