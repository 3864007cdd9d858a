"""What a listing asks for: grades that never contradict scores, and tokens that belong to one question."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.content_versions.question import Position, Question, VersionOrder, parse_position
from parallel_processor.content_versions.version import (
    GRADES,
    ContentVersion,
    VersionChunk,
    grade_of,
    parse_version_id,
)
from service_common.errors import ServiceError

from tests.unit.processor.samples import NOW, piece

LOWEST = Question(content_type="faq", order=VersionOrder.LOWEST_QUALITY_FIRST)
HIGHEST = replace(LOWEST, order=VersionOrder.HIGHEST_QUALITY_FIRST)
HERE = Position(0, NOW + timedelta(microseconds=7), "job.0.1.1.0", 3)
SCORES = st.floats(0, 1)


def version(place: int = 0, *, quality: float | None = 0.5, chunk_id: str = "job.0.1.1.0") -> ContentVersion:
    """Return a version of an item."""
    return ContentVersion(chunk_id, place, "job", f"i{place}", NOW, replace(piece(), quality=quality))


@given(SCORES, SCORES)
def test_a_higher_score_never_has_a_lower_grade(one: float, other: float) -> None:
    """So a listing that goes grade by grade is ordered by score, up to the width of a grade."""
    low, high = sorted((one, other))
    assert 0 <= grade_of(low) <= grade_of(high) <= GRADES
    assert grade_of(high) - grade_of(low) <= (high - low) * GRADES + 1


@given(SCORES, SCORES, SCORES)
def test_the_selections_of_a_range_cover_its_scores(one: float, other: float, quality: float) -> None:
    """A version is within the bounds exactly if one selection admits it and the question wants it."""
    low, high = sorted((one, other))
    question = replace(LOWEST, min_quality=low, max_quality=high)
    admitting = [each for each in question.selections() if each.admits(version(quality=quality))]
    assert len(admitting) <= 1
    assert bool(admitting and question.wants(version(quality=quality))) == (low <= quality <= high)


@pytest.mark.parametrize("question", [LOWEST, HIGHEST])
def test_by_quality_grades_follow_one_another(question: Question) -> None:
    """All grades are asked for, each once, from the end the order names; a page is sorted within itself."""
    grades = [each.grade or 0 for each in question.selections()]
    assert sorted(grades) == list(range(GRADES + 1))
    page = [version(n, quality=quality) for n, quality in enumerate((0.51, 0.54, 0.52, 0.54))]
    found = [each.piece.quality or 0.0 for each in question.sorted(page)]
    descending = question is HIGHEST
    assert all((one >= other) == descending or one == other for one, other in pairwise((*grades,)))
    assert found == sorted(found, reverse=descending)
    assert [each.place for each in question.sorted(page) if each.piece.quality == 0.54] == [1, 3]


def test_what_was_not_scored_has_no_grade() -> None:
    """It is in no listing by quality, and in the others."""
    assert not any(each.admits(version(quality=None)) for each in LOWEST.selections())
    (newest,) = Question(content_type="faq").selections()
    assert newest.admits(version(quality=None))


def test_a_token_is_a_place_of_its_own_question() -> None:
    """It is read back as it was; under any other question it is refused."""
    asked = Question(item_id="a")
    assert parse_position(HERE.token(asked), asked) == HERE
    assert parse_position("", asked) is None
    others = (
        Question(),
        Question(item_id="b"),
        Question(content_type="a"),
        LOWEST,
        HIGHEST,
        replace(LOWEST, min_quality=0.1),
        replace(LOWEST, max_quality=0.9),
    )
    for other in others:
        with pytest.raises(ServiceError) as caught:
            parse_position(HERE.token(asked), other)
        assert caught.value.reason == "INVALID_PAGE_TOKEN"


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    """Whatever a client makes up is an error that says so, and never the beginning."""
    if text:
        with pytest.raises(ServiceError) as caught:
            parse_position(text, LOWEST)
        assert caught.value.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(("turn", "micros"), [(21, 0), (-1, 0), (0, 2**62)])
def test_a_forged_place_is_refused(turn: int, micros: int) -> None:
    """A grade that there is not, or a time that no calendar has."""
    forged = base64.urlsafe_b64encode(orjson.dumps([LOWEST.seal(), turn, micros, "c", 0])).decode()
    with pytest.raises(ServiceError) as caught:
        parse_position(forged, LOWEST)
    assert caught.value.reason == "INVALID_PAGE_TOKEN"


def test_a_position_keeps_what_comes_after_it() -> None:
    """Of its own chunk the rest, of later ones all, of earlier ones nothing."""
    versions = tuple(version(n) for n in (9, 3, 1))
    own = VersionChunk("job.0.1.1.0", HERE.create_time, versions)
    assert [each.place for each in HERE.rest_of(own).versions] == [3, 1]
    assert not HERE.follows(own)
    assert HERE.follows(replace(own, chunk_id="job.0.1.1.1"))
    assert HERE.follows(replace(own, create_time=HERE.create_time + timedelta(microseconds=1)))
    older = replace(own, chunk_id="job.0.1.0.9")
    assert not HERE.follows(older)
    assert HERE.rest_of(older) is older
    assert HERE.rest_of(own).versions != replace(HERE, place=-1).rest_of(own).versions == ()


def test_an_id_names_chunk_and_place() -> None:
    """What a version is called leads back to it; other texts lead nowhere."""
    named = version(17)
    assert parse_version_id(named.version_id) == ("job.0.1.1.0", 17)
    assert [parse_version_id(each) for each in ("", "job", ".1", "job.", "job.x", "job.12345")] == [None] * 6
