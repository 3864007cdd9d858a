"""The judge of last resort, and the embedded model it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from content_cache.semantic.embedding import DIMENSIONS, MiniLm
from content_cache.semantic.judge import OutputSimilarity


@pytest.fixture(scope="module")
def model() -> MiniLm:
    """Load the embedded model."""
    return MiniLm()


LONG = "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen inside chloroplasts. " * 5
SAME_LONG = (
    "In chloroplasts, photosynthesis makes sugar and oxygen from carbon dioxide and water with light. " * 5
)
OTHER_LONG = "The French Revolution began in 1789 with the storming of the Bastille in Paris by a crowd. " * 5


def test_answers_about_the_same_agree_and_others_do_not(model: MiniLm) -> None:
    """Long answers by meaning; short ones must also pass the guard; what is no text cannot be told."""
    judge = OutputSimilarity(model, at_least=0.85)
    assert judge.same(LONG.encode(), SAME_LONG.encode()) is True
    assert judge.same(LONG.encode(), OTHER_LONG.encode()) is False
    assert judge.same(b"It is safe.", b"It is not safe.") is False
    assert judge.same(b"\xff", LONG.encode()) is None
    assert judge.same(b"\xff", b"\xff") is True


def test_vectors_have_length_one_and_near_meanings_are_near(model: MiniLm) -> None:
    """The real model: a paraphrase is nearer than another topic; the same text, the same vector."""
    prompts = ["Explain entropy.", "What is entropy?", "Baking bread", "Explain entropy."]
    one, two, other, again = (each for each in model.embed(prompts) if each is not None)
    assert one.shape == (DIMENSIONS,)
    assert float(np.linalg.norm(one)) == pytest.approx(1, abs=1e-4)
    assert float(one @ two) > 0.8
    assert float(one @ other) < 0.5
    assert np.array_equal(one, again)


def test_what_the_model_cannot_see_whole_has_no_vector(model: MiniLm) -> None:
    """Texts that differ beyond the model's window would look equal, so they have none."""
    assert model.embed(["word " * 300, " \n", ""]) == [None, None, None]
    assert model.embed(["word " * 250])[0] is not None
