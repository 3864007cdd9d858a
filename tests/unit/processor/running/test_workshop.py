"""From a prompt to an order: what is asked of the endpoint is what the key stands for."""

from __future__ import annotations

import pytest
from parallel_processor.running.order import Order
from parallel_processor.running.workshop import order_of

from tests.unit.processor.running.fakes import prompt
from tests.unit.processor.samples import raw_spec

ASKED = prompt().sampling.max_tokens


def order(limit: int | None) -> Order:
    """Return the order for one and the same prompt, at an endpoint with a limit."""
    return order_of(raw_spec(), prompt(), tenant="acme", default_model="m", max_output_tokens=limit)


@pytest.mark.parametrize(
    ("limit", "sent"), [(None, ASKED), (ASKED - 1, ASKED - 1), (ASKED, ASKED), (ASKED + 1, ASKED), (1, 1)]
)
def test_the_limit_only_ever_lowers(limit: int | None, sent: int) -> None:
    """The endpoint is asked for what the prompt says, or for its limit where that is less."""
    assert order(limit).request.max_tokens == sent


def test_a_limit_makes_another_key_exactly_when_it_changes_the_request() -> None:
    """What was made under a limit is not served without it; a limit that cuts nothing loses no piece."""
    assert order(ASKED - 1).key != order(None).key
    assert order(ASKED).key == order(None).key
