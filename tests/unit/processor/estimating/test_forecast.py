"""Forecasts: what evens out and what does not, what a sample leaves open, and how long calls take."""

from __future__ import annotations

import random

from parallel_processor.estimating.forecast import Call, Experience, expected_cost, forecast
from parallel_processor.estimating.measure import Kind, Measure, Measures, MeasureTally, merged
from parallel_processor.estimating.sample import WHOLE_CHUNKS, chosen
from parallel_processor.model.prices import ModelPrice

PRICE = ModelPrice(1_000_000, 2_000_000)
FAQ = Kind("m", "faq", 1_000)


def measure(*outputs: int, seconds: float = 2.0) -> Measure:
    """Return what calls with these outputs took; a prompt token has four characters, an output token five."""
    tally = MeasureTally()
    for each in outputs:
        tally.add(
            prompt_characters=400,
            prompt_tokens=100,
            output_characters=5 * each,
            output_tokens=each,
            seconds=seconds,
        )
    return tally.read()


def calls(count: int, kind: Kind = FAQ, *, level: int = 0, chunk: int = 0) -> list[Call]:
    """Return calls that are alike."""
    return [Call(kind, PRICE, 400, chunk, level) for _ in range(count)]


def width(of: list[Call], measures: Measures, *, scale: float = 1.0, unread: float = 0.0) -> float:
    """Return how wide a forecast is beside what it expects."""
    cost = forecast(of, Experience(measures), scale=scale, at_once=10, unread_chunks=unread).cost
    return (cost.high - cost.low) / cost.expected


def test_the_expected_cost_is_that_of_calls_like_it() -> None:
    """A hundred tokens of prompt and two hundred of output at their prices, rounded up by half a micro."""
    known = {FAQ: measure(*[190, 210] * 500)}
    found = forecast(calls(10), Experience(known), scale=1.0, at_once=10)
    assert abs(found.cost.expected - 10 * (100 + 400 + 0.5)) < 10
    assert found.measured == 1_000
    assert abs(expected_cost(calls(10), Experience(known))["faq"] - found.cost.expected) < 1e-6


def test_single_differences_even_out_and_ignorance_does_not() -> None:
    """Of many calls the total is known better than of few; of a kind never seen it is not."""
    known = {FAQ: measure(*[100, 300] * 200)}
    assert width(calls(400), known) < width(calls(4), known) / 4
    assert width(calls(400), {}) > 0.8 * width(calls(4), {})


def test_kinds_that_borrow_their_experience_err_together() -> None:
    """Eight kinds that nobody has measured are no better known together than one is."""
    unknown = [Kind("m", f"type_{number}", 1_000) for number in range(8)]
    many = [call for kind in unknown for call in calls(10, kind)]
    assert width(many, {}) > 0.7 * width(calls(80, unknown[0]), {})


def test_outputs_that_were_cut_off_say_little_of_longer_ones() -> None:
    """Experience under a small limit does not hide that under a large one outputs may be long."""
    cut = {Kind("m", "faq", 50): measure(*[50] * 100), Kind("m", "faq", 2_000): measure(*[390, 410] * 50)}
    assert Experience(cut).output(FAQ).mean > 250
    assert Experience(cut).output(Kind("m", "faq", 50)).mean < 60
    assert Experience(cut).output_characters(Kind("m", "faq", 2_000)) > 1_500


def test_what_reads_an_output_is_as_uncertain_as_the_output() -> None:
    """An outline that becomes part of seven prompts makes the total less certain than one that does not."""
    known = {FAQ: measure(*[100, 300] * 200)}
    read = calls(5)
    for each in read:
        each.readers += [PRICE.prompt_micros_per_million] * 7
    assert width(read, known) > 2 * width(calls(5), known)


def test_a_sample_leaves_open_how_the_rest_differs() -> None:
    """Chunks that are alike say more of those that were not read than chunks that differ."""
    known = {FAQ: measure(*[190, 210] * 500)}
    even = [call for chunk in range(10) for call in calls(10, chunk=chunk)]
    uneven = [call for chunk in range(10) for call in calls(1 + 2 * chunk, chunk=chunk)]
    assert width(uneven, known, scale=10, unread=0.9) > 2 * width(even, known, scale=10, unread=0.9)
    assert width(uneven, known, scale=1, unread=0.0) < 0.1


def test_calls_take_as_long_as_the_lanes_are_few() -> None:
    """Twice as many lanes halve it, down to one call a level; nothing measured, nothing said."""
    known = {FAQ: measure(*[200] * 50, seconds=2.0)}

    def seconds(of: list[Call], at_once: int) -> float:
        found = forecast(of, Experience(known), scale=1.0, at_once=at_once).seconds
        assert found is not None
        return found.expected

    assert 19 < seconds(calls(100), 10) < 22
    assert 9 < seconds(calls(100), 20) < 12
    assert 3.5 < seconds(calls(5) + calls(5, level=1), 100) < 5
    assert forecast(calls(3), Experience({}), scale=1.0, at_once=4).seconds is None


def test_a_large_job_is_looked_at_all_over() -> None:
    """Each of as many equal stretches gives one chunk; a small job is read whole."""
    rng = random.Random(1)
    assert chosen(WHOLE_CHUNKS, rng) == list(range(WHOLE_CHUNKS))
    found = chosen(10 * WHOLE_CHUNKS, rng)
    assert [each // 10 for each in found] == list(range(WHOLE_CHUNKS))


def test_measures_put_together_are_those_of_all_calls() -> None:
    """What two processes measured of one kind is one measure."""
    both = merged({FAQ: measure(100, 200)}, {FAQ: measure(300)})
    assert both[FAQ].output_tokens.count == 3
    assert abs(both[FAQ].output_tokens.mean - 200) < 1e-9
