"""The quality score: bounded, deterministic, and good texts of each type above bad ones."""

# ruff: noqa: E501 - the texts judged here are data
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_optimizer.quality import QualityScore, score
from prompt_optimizer.quality.text import words_of

TOPIC = "The water cycle"
GOOD = {
    "outline": """1. What the water cycle is: Water moves between sea, air and land without end.
2. Evaporation: The sun warms the sea and turns water into vapour.
3. Condensation: Vapour cools high above the ground and forms clouds.
4. Precipitation: Drops grow heavy and fall as rain, snow or hail.
5. Collection: Rivers and groundwater carry the water back to the ocean, where it begins again.
6. Why it matters: Every well, field and forest depends on it.""",
    "podcast_script": """Sam: Welcome to the show! Today we talk about the water cycle. Alex, where does it begin?
Alex: It has no beginning, but let us start at the sea, where the sun turns water into vapour.
Sam: And then the vapour simply rises?
Alex: Yes, and high above us it cools until tiny drops form. Those drops are what we call clouds.
Sam: So rain is just a cloud that became too heavy?
Alex: That is a good way to put it. The drops join, grow and fall as rain or snow.
Sam: Where does all that rain go?
Alex: Some of it sinks into the ground, some runs off in rivers, and in the end it reaches the sea again.
Sam: Thank you, Alex. Goodbye, everyone!""",
    "study_guide": """## Key ideas
- The water cycle moves water between sea, air and land.
- The sun gives the energy that lifts water into the air.
- Gravity brings it down again as rain, snow or hail.

## Important words
- **Evaporation**: liquid water becomes vapour.
- **Condensation**: vapour becomes tiny drops and forms clouds.
- **Runoff**: water that flows over land into rivers.

## Check yourself
- What drives the cycle from below, and what from above?
- Where is most of the fresh water on Earth kept?
- Why do clouds form on the cold side of mountains?""",
    "one_pager": """# The water cycle

The water cycle is the endless journey of water between the sea, the air and the land. It matters because it
gives us fresh water and moves heat around the planet.

- **Evaporation**: the sun turns water from the sea into vapour.
- **Condensation**: vapour cools and gathers in clouds.
- **Precipitation**: rain and snow bring it back to the ground.
- **Return**: rivers and groundwater carry it to the ocean, where the journey begins again.
- **Time**: a drop may stay nine days in the air and thousands of years in deep ice.""",
    "detailed_reading": """The water cycle is the name for the way in which water moves between the sea, the air and the land. It has no first step, for every part of it feeds another one, and no drop of it is ever lost.

Think of the sea on a warm day. The sun heats its surface, and some of the water leaves it as an invisible vapour. The vapour rises, and because the air is colder up there, it turns into droplets so small that they float. We see them as clouds.

When droplets meet they join, and once they are heavy enough they fall as rain, or as snow where it is cold. Some of this water sinks into the ground and feeds springs, while the rest runs over the land into streams and rivers.

In the end nearly all of it reaches the ocean again. Farmers, cities and forests live on what is on its way, and this is why a change of climate, which changes where rain falls, concerns everybody.""",
    "faq": """Q: What is the water cycle?
A: It is the way in which water moves between the sea, the air and the land, again and again.

Q: What drives it?
A: The sun lifts water into the air as vapour, and gravity brings it back as rain or snow.

Q: How long does a drop stay in the air?
A: About nine days on average, much less than in a glacier.

Q: Is the amount of water on Earth always the same?
A: Very nearly. It changes its place and its form, hardly ever its amount.""",
    "flashcards": """Front: Evaporation
Back: Liquid water turns into vapour, mostly at the surface of warm seas.

Front: Condensation
Back: Vapour cools and becomes the droplets that clouds are made of.

Front: What drives the water cycle?
Back: The energy of the sun, together with gravity.

Front: Runoff
Back: Rain that flows over land into streams and rivers.

Front: Groundwater
Back: Rain that sank into soil and rock and feeds springs.""",
    "reading_questions": """1. Where does the energy of the water cycle come from?
2. How does vapour become a cloud?
3. Which ways can rain take once it has reached the ground?
4. Why is the sea salty although rivers are not?
5. What would change if the planet grew warmer by two degrees?
6. Where is your own drinking water in this cycle right now?""",
}
BAD = {
    "loop": "The water cycle is a cycle that helps sustain life on earth. " * 30,
    "stuck": "Alex: Welcome.\n" * 40,
    "refusal": "I am sorry, but I cannot help with that.",
    "other topic": "My favourite dish is pasta with tomatoes. It takes little time, and everybody in the house likes it.",
    "cut": "The water cycle is the way in which water moves between the sea and the",
}


@pytest.mark.parametrize("content_type", GOOD)
def test_a_good_text_of_each_type_scores_high(content_type: str) -> None:
    """What a careful author writes is not marked down."""
    assert score(GOOD[content_type], content_type, subjects=[TOPIC]).overall > 0.9


@pytest.mark.parametrize("content_type", GOOD)
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_text_scores_far_below_a_good_one(content_type: str, fault: str) -> None:
    """Loops, refusals, strays and fragments are told from good texts by a wide margin."""
    good = score(GOOD[content_type], content_type, subjects=[TOPIC]).overall
    assert score(BAD[fault], content_type, subjects=[TOPIC]).overall < 0.7 * good


@pytest.mark.parametrize("content_type", GOOD)
def test_a_good_text_of_another_type_scores_lower(content_type: str) -> None:
    """The form asked for counts: every other type's text has it less."""
    own = score(GOOD[content_type], content_type, subjects=[TOPIC])
    for other, text in GOOD.items():
        if other != content_type:
            assert _structure(score(text, content_type)) <= _structure(own)


def _structure(found: QualityScore) -> float:
    return next(each.score for each in found.components if each.name == "structure")


@pytest.mark.parametrize("content_type", GOOD)
def test_cutting_a_text_short_lowers_its_score(content_type: str) -> None:
    """A text that ended at its limit in the middle of a word scores less."""
    text = GOOD[content_type]
    cut = text[: int(len(text) * 0.6)].rstrip(" .!?\n")[:-1]
    assert score(cut, content_type).overall < score(text, content_type).overall


def test_nothing_scores_nothing() -> None:
    """Empty, blank and wordless outputs are unusable."""
    for text in ("", " \n\t ", "!!! … ***"):
        assert score(text, "faq", subjects=[TOPIC]).overall == 0


def test_what_cannot_be_judged_has_no_share() -> None:
    """Without subjects there is no relevance, of an unknown type no structure."""
    found = score(GOOD["faq"], "haiku")
    assert [each.name for each in found.components] == ["length", "variety", "completeness"]


@given(st.text(max_size=400), st.sampled_from([*GOOD, "text"]), st.lists(st.text(max_size=40), max_size=3))
def test_scores_are_bounded_and_weights_whole(text: str, content_type: str, subjects: list[str]) -> None:
    """Whatever the text: 0 to 1, weights that add to 1, the overall being their mean, the same every time."""
    found = score(text, content_type, subjects=subjects)
    assert 0 <= found.overall <= 1
    assert all(0 <= each.score <= 1 and 0 <= each.weight <= 1 for each in found.components)
    assert sum(each.weight for each in found.components) == pytest.approx(1)
    assert found.overall == pytest.approx(sum(each.score * each.weight for each in found.components))
    assert found == score(text, content_type, subjects=subjects)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200), st.integers(1, 6))
def test_variety_never_grows_by_repeating(text: str, times: int) -> None:
    """Saying it once more is never more varied."""
    variety = [_variety(score((text + "\n") * each, "text")) for each in (times, times + 1)]
    assert variety[1] <= variety[0] + 1e-9


def _variety(found: QualityScore) -> float:
    return next((each.score for each in found.components if each.name == "variety"), 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "é " * 500_000,
        "水" * 300_000,
        ":" * 1_000_000,
        "\n#" * 500_000,
        "Aa " * 300_000,
        "(((" * 300_000,
        "*" * 999_999 + "Q",
    ],
)
def test_huge_and_odd_texts_are_scored(text: str) -> None:
    """A mebibyte of anything is scored without harm; the test's own timeout is the bound."""
    for content_type in GOOD:
        assert 0 <= score(text, content_type, subjects=[text[:1000]]).overall <= 1


def test_words_of_scripts_without_spaces_are_counted() -> None:
    """A Chinese paragraph is not one word, and its subject is found in it."""
    text = "水循环是指水在海洋、大气和陆地之间不断运动的过程。太阳使海水蒸发,水汽上升后冷却成云。"
    found = {each.name: each.score for each in score(text, "text", subjects=["水循环"]).components}
    assert found == {"length": 1, "relevance": 1, "variety": 1, "completeness": 1}


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_runs_of_letters_digits_and_underscores(text: str) -> None:
    """The quick way to take ASCII apart finds what the pattern finds."""
    assert words_of(text) == re.findall(r"\w+", text)
